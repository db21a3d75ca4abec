"""Tiny LLaMAs whose linear layers are quantized in the formats that Hugging Face checkpoints come in, and their logits.

    python test/reference/make_packed_fixtures.py

Writes test/fixtures/packed/<case>/{config.json, model.safetensors, hf_quant_config.json} and expected.json: for each case the
logits of the last token by transformers' LlamaForCausalLM in float32 with the weights that the codes stand for, and with
inputs rounded to codes where the format says so. Codes are packed here by the formats' published layouts, element by
element; where the package compressed-tensors can be imported, its packing has to agree. Needs torch and transformers.
"""

import json
import pathlib

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "packed"
IDS = [3, 11, 0, 7, 18, 5, 2]
HIDDEN, INNER, HEADS, KV, VOCAB, GROUP = 32, 96, 2, 1, 19, 32
SIZES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN // 2, HIDDEN),
    "self_attn.v_proj": (HIDDEN // 2, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INNER, HIDDEN),
    "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
}
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": 1,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV,
    "vocab_size": VOCAB,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "torch_dtype": "float16",
}
rng = np.random.default_rng(20240)


def affine(weight, bits, group, symmetric):
    """Codes 0 … 2^bits − 1, float16 scales and zero points [out, groups] of a weight [out, in]."""
    out, inputs = weight.shape
    blocks = weight.reshape(out, inputs // group, group)
    top = 2**bits - 1
    if symmetric:
        scales = (np.abs(blocks).max(-1) / (2 ** (bits - 1) - 1)).astype(np.float16)
        zeros = np.full(scales.shape, 2 ** (bits - 1))
    else:
        low, high = np.minimum(blocks.min(-1), 0), np.maximum(blocks.max(-1), 0)
        scales = ((high - low) / top).astype(np.float16)
        zeros = np.clip(np.round(-low / scales.astype(np.float32)), 1, top).astype(int)
    wide = scales.astype(np.float32)[:, :, None]
    codes = np.clip(np.round(blocks / wide) + zeros[:, :, None], 0, top).astype(int)
    floats = ((codes - zeros[:, :, None]) * wide).astype(np.float32)
    return codes.reshape(out, inputs), scales, zeros, floats.reshape(out, inputs)


def pack(codes, bits, axis, order=None):
    """int32 words of 32 / bits codes along `axis`; place i from the low end holds column order[i] of its word."""
    codes = np.moveaxis(np.asarray(codes, dtype=np.uint64), axis, -1)
    per = 32 // bits
    spare = -codes.shape[-1] % per
    codes = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, spare)])
    words = np.zeros((*codes.shape[:-1], codes.shape[-1] // per), dtype=np.uint64)
    for place in range(per):
        words |= codes[..., (order[place] if order else place) :: per] << np.uint64(bits * place)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(words.astype(np.uint32).view(np.int32), -1, axis)))


def t(array):
    return torch.from_numpy(np.ascontiguousarray(array))


def gptq(weight, bits, group, symmetric, offset):
    group = weight.shape[1] if group == -1 else group
    codes, scales, zeros, floats = affine(weight, bits, group, symmetric)
    return floats, {
        "qweight": pack(codes.T, bits, 0),
        "qzeros": pack(zeros.T - offset, bits, 1),
        "scales": t(scales.T),
        "g_idx": t((np.arange(weight.shape[1]) // group).astype(np.int32)),
    }


AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def awq(weight, symmetric):
    codes, scales, zeros, floats = affine(weight, 4, GROUP, symmetric)
    return floats, {
        "qweight": pack(codes.T, 4, 1, AWQ_ORDER),
        "qzeros": pack(zeros.T, 4, 1, AWQ_ORDER),
        "scales": t(scales.T),
    }


def compressed_int4(weight, group, symmetric):
    group = weight.shape[1] if group == -1 else group
    codes, scales, zeros, floats = affine(weight, 4, group, symmetric)
    tensors = {
        "weight_packed": pack(codes, 4, 1),
        "weight_scale": t(scales),
        "weight_shape": torch.tensor(weight.shape),
    }
    if not symmetric:
        tensors["weight_zero_point"] = pack(zeros, 4, 0)
    agree(codes - 8, tensors["weight_packed"], 1)
    if not symmetric:
        agree(zeros - 8, tensors["weight_zero_point"], 0)
    return floats, tensors


def agree(codes, packed, axis):
    try:
        from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
    except ImportError as error:
        return print("not compared with compressed-tensors:", error)
    theirs = pack_to_int32(t(codes.astype(np.int8)), 4, packed_dim=axis)
    assert torch.equal(theirs, packed), "compressed-tensors packs otherwise"
    print("packed as compressed-tensors does")


def int8_channel(weight, input_scale):
    scale = (np.abs(weight).max(1, keepdims=True) / 127).astype(np.float16)
    codes = np.clip(np.round(weight / scale.astype(np.float32)), -128, 127)
    tensors = {"weight": t(codes.astype(np.int8)), "weight_scale": t(scale)}
    if input_scale:
        tensors["input_scale"] = torch.tensor([input_scale])
    return (codes * scale.astype(np.float32)).astype(np.float32), tensors


def fp8(weight, input_scale, shape):
    scale = torch.tensor(float(np.abs(weight).max()) / 448)
    codes = (t(weight.astype(np.float32)) / scale).to(torch.float8_e4m3fn)
    tensors = {"weight": codes, "weight_scale": scale.reshape(shape), "input_scale": torch.tensor(input_scale).reshape(shape)}
    return (codes.float() * scale).numpy(), tensors


def modelopt_awq(weight, prequant):
    codes, scales, _, floats = affine(weight / (1 if prequant is None else prequant), 4, GROUP, True)
    signed = (codes - 8).astype(np.int64) & 15
    packed = (signed[0::2] | (signed[1::2] << 4)).astype(np.uint8)
    tensors = {"weight": t(packed), "weight_scale": t(scales)}
    if prequant is not None:
        tensors["pre_quant_scale"] = t(prequant.astype(np.float16))
        floats = floats * prequant.astype(np.float16).astype(np.float32)
    return floats, tensors


def per_token(x):
    scale = x.abs().amax(-1, keepdim=True).clamp(min=1e-6) / 127
    return (x / scale).round().clamp(-128, 127) * scale


def static_int8(scale):
    return lambda x: (x / scale).round().clamp(-128, 127) * scale


def static_fp8(scale):
    return lambda x: (x / scale).clamp(-448, 448).to(torch.float8_e4m3fn).float() * scale


def one_scale(parts):
    """E4M3 weights that share a product get the largest of their scales, as every engine with one scale a product has it."""
    scale = max(float(tensors["weight_scale"].reshape(())) for _, tensors in parts)
    for floats, _ in parts:
        yield ((t(floats) / scale).to(torch.float8_e4m3fn).float() * scale).numpy()


def base_weights():
    return {name: rng.normal(0, 0.25, size).astype(np.float32) for name, size in SIZES.items()}


def logits_of(table, norms, weights, inputs):
    model = LlamaForCausalLM(LlamaConfig(**{k: v for k, v in CONFIG.items() if k not in ("architectures", "torch_dtype")})).float().eval()
    layer = model.model.layers[0]
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(table.float())
        for module, values in zip((layer.input_layernorm, layer.post_attention_layernorm, model.model.norm), norms):
            module.weight.copy_(values.float())
        for name, floats in weights.items():
            module = layer.get_submodule(name)
            module.weight.copy_(t(floats))
            if inputs and inputs.get(name):
                module.register_forward_pre_hook(lambda _, args, f=inputs[name]: (f(args[0]),))
        return model(torch.tensor([IDS])).logits[0, -1].tolist()


def make(name, quantize, quantization, inputs=None, after=None, hf=None):
    table = torch.from_numpy(rng.normal(0, 0.5, (VOCAB, HIDDEN)).astype(np.float16))
    norms = [torch.from_numpy((1 + rng.normal(0, 0.1, HIDDEN)).astype(np.float16)) for _ in range(3)]
    made = {module: quantize(module, weight) for module, weight in base_weights().items()}
    weights = {module: floats for module, (floats, _) in made.items()}
    if after:
        weights = after(weights, made)
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.layers.0.{module}.{part}": value for module, (_, parts) in made.items() for part, value in parts.items()}
    names = ["layers.0.input_layernorm", "layers.0.post_attention_layernorm", "norm"]
    tensors |= {"model.embed_tokens.weight": table, **{f"model.{n}.weight": v for n, v in zip(names, norms)}}
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "model.safetensors")
    config = CONFIG | ({"quantization_config": quantization} if quantization else {})
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    if hf:
        (folder / "hf_quant_config.json").write_text(json.dumps(hf, indent=1) + "\n")
    return logits_of(table, norms, weights, inputs)


def compressed(fmt, weights, inputs=None, **more):
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs, "output_activations": None}
    return {
        "quant_method": "compressed-tensors",
        "format": fmt,
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
        "kv_cache_scheme": None,
        "global_compression_ratio": None,
        **more,
    }


def args(bits, kind, strategy, **more):
    return {"num_bits": bits, "type": kind, "strategy": strategy, "symmetric": True, "dynamic": False, "observer": "minmax", **more}


# Inputs of q, k and v are one tensor, and so are those of gate and up.
SCALES = {"self_attn.o_proj": 0.011, "mlp.gate_proj": 0.021, "mlp.up_proj": 0.021, "mlp.down_proj": 0.017}
scale_of = lambda module, unit=1: unit * SCALES.get(module, 0.019)
EVERY = lambda f: {module: f(module) for module in SIZES}


def fused_fp8(weights, made):
    names = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]
    return weights | dict(zip(names, one_scale([made[name] for name in names])))


prequant = {"self_attn.o_proj": rng.uniform(0.5, 2, HIDDEN), "mlp.down_proj": rng.uniform(0.5, 2, INNER)}
int8_args = args(8, "int", "channel")
gptq_config = {"quant_method": "gptq", "bits": 4, "desc_act": True, "true_sequential": True, "damp_percent": 0.1}
expected = {
    "gptq_asym": make(
        "gptq_asym",
        lambda _, w: gptq(w, 4, GROUP, False, 1),
        gptq_config | {"group_size": GROUP, "sym": False, "model_file_base_name": "model"},
    ),
    "gptq_v2": make(
        "gptq_v2",
        lambda _, w: gptq(w, 4, -1, True, 0),
        gptq_config | {"group_size": -1, "sym": True, "desc_act": False, "checkpoint_format": "gptq_v2", "meta": {}},
    ),
    "gptq_int8": make(
        "gptq_int8", lambda _, w: gptq(w, 8, -1, True, 1), gptq_config | {"bits": 8, "group_size": -1, "sym": True}
    ),
    "awq_asym": make(
        "awq_asym",
        lambda _, w: awq(w, False),
        {"quant_method": "awq", "bits": 4, "group_size": GROUP, "zero_point": True, "version": "gemm", "modules_to_not_convert": None},
    ),
    "awq_folds": make(
        "awq_folds",
        lambda _, w: awq(w, True),
        {"quant_method": "awq", "bits": 4, "group_size": GROUP, "zero_point": True, "version": "GEMM"},
    ),
    "compressed_w4": make(
        "compressed_w4",
        lambda _, w: compressed_int4(w, GROUP, False),
        compressed("pack-quantized", args(4, "int", "group", group_size=GROUP, symmetric=False, actorder=None)),
    ),
    "compressed_w8a8": make(
        "compressed_w8a8",
        lambda _, w: int8_channel(w, None),
        compressed("int-quantized", int8_args, args(8, "int", "token", dynamic=True)),
        inputs=EVERY(lambda _: per_token),
    ),
    "compressed_static": make(
        "compressed_static",
        lambda m, w: int8_channel(w, scale_of(m)),
        compressed("int-quantized", int8_args, args(8, "int", "tensor")),
        inputs=EVERY(lambda m: static_int8(scale_of(m))),
    ),
    "modelopt_fp8": make(
        "modelopt_fp8",
        lambda m, w: fp8(w, scale_of(m, 0.3), []),
        None,
        inputs=EVERY(lambda m: static_fp8(scale_of(m, 0.3))),
        after=fused_fp8,
        hf={
            "producer": {"name": "modelopt", "version": "0.21.0"},
            "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": None, "exclude_modules": ["lm_head"]},
        },
    ),
    "modelopt_awq": make(
        "modelopt_awq",
        lambda m, w: modelopt_awq(w, prequant.get(m)),
        None,
        hf={
            "producer": {"name": "modelopt", "version": "0.21.0"},
            "quantization": {
                "quant_algo": "W4A16_AWQ",
                "kv_cache_quant_algo": None,
                "group_size": GROUP,
                "has_zero_point": False,
                "pre_quant_scale": True,
                "exclude_modules": ["lm_head"],
            },
        },
    ),
}
lines = [f" {json.dumps(name)}: {json.dumps([round(x, 6) for x in values])}" for name, values in expected.items()]
body = f'{{\n "ids": {json.dumps(IDS)},\n' + ",\n".join(lines) + "\n}\n"
(OUT / "expected.json").write_text(body)
size = sum(f.stat().st_size for f in OUT.rglob("*") if f.is_file())
print(size, "bytes")
assert size <= 150_000

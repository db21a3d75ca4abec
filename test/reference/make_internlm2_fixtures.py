"""Tiny random InternLM2 models and what LLaMA computes with the same weights.

    python test/reference/make_internlm2_fixtures.py [CASE ...]

transformers has no class for InternLM2, whose mathematics is LLaMA's: its tensors are brought into LLaMA's names and order
here, by another way than mmtrt's (reshapes, where mmtrt has row ranges). parity.py says what a fixture is.
"""

import json
import sys

import parity
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

import seeded

IDS = dict(pad_token_id=0, bos_token_id=1, eos_token_id=2)
NAMES = {"embed_tokens": "tok_embeddings", "lm_head": "output", "self_attn.o_proj": "attention.wo", "input_layernorm": "attention_norm",
         "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "feed_forward.w1", "mlp.down_proj": "feed_forward.w2", "mlp.up_proj": "feed_forward.w3"}


def sizes(**changes):
    base = dict(hidden_size=48, intermediate_size=58, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2, vocab_size=107,
                max_position_embeddings=128, rms_norm_eps=1e-5, rope_theta=30000.0, bias=False, **IDS)
    return {**base, **changes}


CASES = {
    "internlm2_gqa": sizes(),
    "internlm2_bias": sizes(hidden_size=50, num_attention_heads=5, num_key_value_heads=1, num_hidden_layers=2, vocab_size=89, bias=True),
}


def llama_name(name):
    for ours, theirs in NAMES.items():
        name = name.replace(theirs, ours)
    return name


def stored(state, heads, kv):
    """LLaMA's tensors as InternLM2 stores them: wqkv [kv_heads, heads / kv_heads + 2, head_dim, …]."""
    out = {}
    for name, x in state.items():
        if "q_proj" in name:
            q, k, v = (state[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj"))
            grouped = [part.unflatten(0, (kv, count, -1)) for part, count in ((q, heads // kv), (k, 1), (v, 1))]
            out[name.replace("self_attn.q_proj", "attention.wqkv")] = torch.cat(grouped, 1).flatten(0, 2)
        elif "k_proj" not in name and "v_proj" not in name:
            for ours, theirs in NAMES.items():
                name = name.replace(ours, theirs)
            out[name] = x
    return {name: x.contiguous().clone() for name, x in out.items()}


def unstored(tensors, heads, kv):
    out = {}
    for name, x in tensors.items():
        if "wqkv" not in name:
            out[llama_name(name)] = x
            continue
        parts = x.unflatten(0, (kv, heads // kv + 2, -1)).split([heads // kv, 1, 1], 1)
        for part, value in zip("qkv", parts):
            out[name.replace("attention.wqkv", f"self_attn.{part}_proj")] = value.flatten(0, 2)
    return out


def make(name, config):
    torch.manual_seed(sum(name.encode()))
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    same = {key: value for key, value in config.items() if key != "bias"}
    model = LlamaForCausalLM(LlamaConfig(**same, attention_bias=config["bias"])).float().eval()
    parity.randomise(model)
    folder = parity.OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: x.half() for key, x in stored(model.state_dict(), heads, kv).items()}, folder / "model.safetensors")
    seeded.reseed_alike(folder, sum(name.encode()))
    weights = {key: x.float() for key, x in load_file(folder / "model.safetensors").items()}
    model.load_state_dict(unstored(weights, heads, kv))
    parity.plain_generation(model)
    written = {**config, "architectures": ["InternLM2ForCausalLM"], "model_type": "internlm2", "hidden_act": "silu", "torch_dtype": "float16",
               "tie_word_embeddings": False, "rope_scaling": None, "auto_map": {"AutoConfig": "configuration_internlm2.InternLM2Config"}}
    (folder / "config.json").write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")
    parity.write_reference(folder, parity.record(model, config["vocab_size"]))


for case in sys.argv[1:] or CASES:
    make(case, CASES[case])

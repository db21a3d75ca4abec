"""Tiny random models of odd geometry and what transformers computes for them.

    python test/reference/make_parity_fixtures.py [CASE ...]

Writes test/fixtures/parity/CASE/{config.json, weights.json, reference.safetensors} and model.safetensors, which is not kept:
the tests make it from weights.json (seeded.py). Needs torch and transformers.
reference.safetensors, all float32 unless said:
    pixel_values [3, 3, H, W], visual [3, N, hidden]                      (LLaVA cases)
    b1.* for one prompt, b3.* for three prompts of different length, left-padded:
        input_ids, attention_mask int32 [batch, seq]; logits [batch, vocab] of the last position; tokens int32 [batch, 64] greedy
        logits_float16, logits_bfloat16: the same with weights rounded to that dtype, computed in float32
"""

import copy
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, LlamaConfig, LlamaForCausalLM, LlavaConfig, LlavaForConditionalGeneration
from seeded import reseed

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "parity"
NEW_TOKENS = 64
LENGTHS = (5, 9, 3)  # prompt lengths of the batch of three, image placeholders not counted


def text(**changes):
    base = dict(hidden_size=48, intermediate_size=60, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2,
                vocab_size=131, max_position_embeddings=256, rms_norm_eps=1e-5, pad_token_id=0, bos_token_id=1, eos_token_id=2,
                tie_word_embeddings=False)
    return LlamaConfig(**{**base, **changes})


def vision(**changes):
    base = dict(hidden_size=36, intermediate_size=52, num_hidden_layers=4, num_attention_heads=3, image_size=30, patch_size=6,
                layer_norm_eps=1e-5, hidden_act="quick_gelu", projection_dim=16)
    return CLIPVisionConfig(**{**base, **changes})


def llava(text_config, vision_config, **changes):
    base = dict(image_token_index=130, vision_feature_layer=-2, vision_feature_select_strategy="default", projector_hidden_act="gelu")
    return LlavaConfig(text_config=text_config, vision_config=vision_config, **{**base, **changes})


CASES = {
    "llama_gqa": text(head_dim=10, rope_theta=5000.0),
    "llama_tied_bias": text(num_key_value_heads=6, attention_bias=True, mlp_bias=True, tie_word_embeddings=True, vocab_size=89,
                            rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}),
    "llama3_rope": text(num_key_value_heads=3, num_hidden_layers=2, vocab_size=77,
                        rope_parameters={"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                         "original_max_position_embeddings": 32, "rope_theta": 20000.0}),
    "llava_mqa": llava(text(num_key_value_heads=1, num_attention_heads=5, hidden_size=40, head_dim=8), vision()),
    "llava_full": llava(text(vocab_size=131, tie_word_embeddings=True), vision(image_size=28, patch_size=7, num_attention_heads=4, hidden_act="gelu"),
                        vision_feature_layer=-1, vision_feature_select_strategy="full"),
    "llava_wide": llava(text(hidden_size=60, head_dim=14, num_attention_heads=4, num_key_value_heads=4, num_hidden_layers=2),
                        vision(hidden_size=24, image_size=33, patch_size=8, num_hidden_layers=5), vision_feature_layer=2,
                        multimodal_projector_bias=False),
    "llava_deep": llava(text(num_hidden_layers=5, hidden_size=32, num_attention_heads=4, num_key_value_heads=2, intermediate_size=70),
                        vision(image_size=18, patch_size=9, num_hidden_layers=6, hidden_size=30, num_attention_heads=5), vision_feature_layer=-3),
}


# Stored as float32, so that a conversion to float16 has something to round; the others hold float16 values, in half the bytes.
SINGLE = ("llama_tied_bias", "llama3_rope")
# Gain of a random matrix: 1 keeps the size of what passes through. Above that attention is further from uniform, and with every
# layer rounding errors grow too, so models whose float16 engines are judged stay at 1.
GAIN = {"llava_deep": 1.0, "llava_mqa": 1.0, "llava_wide": 1.0}


def prompts(config, vocab, features, lengths):
    """Random word ids, `features` image placeholders after the second word, left-padded."""
    width = max(lengths) + features
    ids = torch.zeros(len(lengths), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        words = torch.randint(3, vocab - 1, (length,))
        line = torch.cat([words[:2], torch.full((features,), config.image_token_id), words[2:]]) if features else words
        ids[row, width - len(line):] = line
        mask[row, width - len(line):] = 1
    return ids, mask


def answer(model, ids, mask, pixels):
    extra = {} if pixels is None else {"pixel_values": pixels}
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask, position_ids=positions, **extra).logits[:, -1]
        tokens = model.generate(input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, **extra)
    return logits, tokens[:, ids.shape[1]:]


def rounded(model, dtype):
    other = copy.deepcopy(model)
    for p in other.parameters():
        p.data = p.data.to(dtype).float()
    return other


def make(name, config):
    torch.manual_seed(sum(name.encode()))
    is_llava = isinstance(config, LlavaConfig)
    folder = OUT / name
    cls = LlavaForConditionalGeneration if is_llava else LlamaForCausalLM
    single = name in SINGLE
    cls(config).to(torch.float32 if single else torch.float16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    reseed(folder, sum(name.encode()), GAIN.get(name, 1.25), "F32" if single else "F16")
    model = cls.from_pretrained(folder, dtype=torch.float32).eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    out, features, pixels = {}, 0, None
    if is_llava:
        size = config.vision_config.image_size
        pixels = torch.randn(3, 3, size, size)
        with torch.no_grad():
            got = model.get_image_features(pixel_values=pixels, vision_feature_layer=config.vision_feature_layer,
                                           vision_feature_select_strategy=config.vision_feature_select_strategy)
        got = getattr(got, "pooler_output", got)
        out["pixel_values"], out["visual"] = pixels, torch.stack(list(got))
        features = out["visual"].shape[1]
    vocab = (config.text_config if is_llava else config).vocab_size
    for tag, lengths in (("b1", LENGTHS[:1]), ("b3", LENGTHS)):
        ids, mask = prompts(config, vocab, features, lengths)
        images = None if pixels is None else pixels[: len(lengths)]
        out[f"{tag}.input_ids"], out[f"{tag}.attention_mask"] = ids.int(), mask.int()
        logits, tokens = answer(model, ids, mask, images)
        out[f"{tag}.logits"], out[f"{tag}.tokens"] = logits, tokens.int()
        for dtype in (torch.float16, torch.bfloat16):
            out[f"{tag}.logits_{str(dtype).split('.')[1]}"] = answer(rounded(model, dtype), ids, mask, images)[0]
    save_file({k: v.contiguous().clone() for k, v in out.items()}, folder / "reference.safetensors")
    print(name, {k: tuple(v.shape) for k, v in out.items() if k in ("visual", "b3.logits")}, "distinct tokens", len(set(tokens.flatten().tolist())))


for case in sys.argv[1:] or CASES:
    make(case, CASES[case])

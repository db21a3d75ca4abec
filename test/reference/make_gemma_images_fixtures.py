"""Tiny random Gemma 3 and PaliGemma models of odd geometry, and what transformers computes for them.

    python test/reference/make_gemma_images_fixtures.py [CASE ...]

Writes test/fixtures/parity/CASE; parity.py says what is in there. The first prompt of each batch has two images, of Gemma 3 with a
word between them and of PaliGemma in front of everything; in the batch of three the second has none. Needs torch and transformers.
"""

import copy
import sys

import parity
import torch
from transformers import (
    Gemma2Config,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GemmaConfig,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    SiglipVisionConfig,
)

IDS = dict(pad_token_id=0, bos_token_id=1, eos_token_id=2)
parity.SEEDS.update({"gemma3_images": 0, "gemma3_images_wide": 3, "paligemma_mqa": 9, "paligemma2_window": 2})
IMAGES = {"b1": (2,), "b3": (2, 0, 1)}


def vision(**changes):
    base = dict(hidden_size=24, intermediate_size=38, num_hidden_layers=2, num_attention_heads=3, image_size=18, patch_size=3, vision_use_head=False)
    return SiglipVisionConfig(**{**base, **changes})


def gemma3(features, tower, **changes):
    ropes = {"full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5000.0}, "sliding_attention": {"rope_type": "default", "rope_theta": 700.0}}
    base = dict(hidden_size=28, intermediate_size=34, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=8, vocab_size=89, sliding_window=4,
                query_pre_attn_scalar=17, max_position_embeddings=128, rope_parameters=ropes, **IDS)
    text = Gemma3TextConfig(**{**base, **changes})
    return Gemma3Config(text_config=text, vision_config=tower, mm_tokens_per_image=features, image_token_index=text.vocab_size - 1, boi_token_index=3, eoi_token_index=4)


def paligemma(text, tower):
    return PaliGemmaConfig(text_config=text, vision_config=tower, image_token_index=text.vocab_size - 1, projection_dim=text.hidden_size, hidden_size=text.hidden_size)


CASES = {
    # Windows of as many tokens as an image has, and of fewer.
    "gemma3_images": (Gemma3ForConditionalGeneration, gemma3(4, vision(), layer_types=["sliding_attention", "full_attention", "sliding_attention"])),
    "gemma3_images_wide": (Gemma3ForConditionalGeneration, gemma3(9, vision(hidden_size=20, num_attention_heads=5, image_size=30, patch_size=5, num_hidden_layers=3),
                           hidden_size=36, num_attention_heads=6, num_key_value_heads=1, head_dim=10, sliding_window=5, vocab_size=97, num_hidden_layers=2,
                           layer_types=["sliding_attention", "full_attention"])),
    "paligemma_mqa": (PaliGemmaForConditionalGeneration, paligemma(
        GemmaConfig(hidden_size=25, intermediate_size=46, num_hidden_layers=3, num_attention_heads=3, num_key_value_heads=1, head_dim=12, vocab_size=83,
                    max_position_embeddings=128, rope_theta=3000.0, **IDS),
        vision(image_size=12, patch_size=4, hidden_size=20, num_attention_heads=5))),
    # Windows shorter than a prompt, which sees all of itself nevertheless; its answer does not.
    "paligemma2_window": (PaliGemmaForConditionalGeneration, paligemma(
        Gemma2Config(hidden_size=36, intermediate_size=38, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=10, vocab_size=97, sliding_window=5,
                     query_pre_attn_scalar=19, attn_logit_softcapping=7.0, final_logit_softcapping=9.0, max_position_embeddings=128, **IDS),
        vision(image_size=14, patch_size=7, num_hidden_layers=3))),
}


def prompts(config, features, images):
    """Left-padded rows: two words, the images with a word behind each, the other words; of PaliGemma the images, a begin token, the words."""
    rows = []
    for length, count in zip(parity.LENGTHS, images):
        words = torch.randint(5, config.text_config.vocab_size - 1, (length,)).tolist()
        if config.model_type == "paligemma":
            rows.append([config.image_token_id] * features * count + [IDS["bos_token_id"]] + words)
            continue
        seen = [id for i in range(count) for id in [*[config.image_token_id] * features, 4 + i]]
        rows.append(words[:2] + seen + words[2:])
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def make(name, kind, config):
    torch.manual_seed(sum(name.encode()))
    if config.text_config.model_type == "gemma2":
        config._attn_implementation = "eager"  # the others have no soft-cap
    model = kind(config).float().eval()
    parity.randomise(model)
    for part, p in model.named_parameters():
        if "norm" in part and "vision" not in part:
            p.data = torch.empty_like(p).uniform_(-0.4, 0.4).half().float()  # stored less one
    model = parity.reseeded(model, name)
    parity.plain_generation(model)
    size = config.vision_config.image_size
    pixels = torch.randn(sum(IMAGES["b3"]), 3, size, size)
    with torch.no_grad():
        visual = model.get_image_features(pixel_values=pixels).pooler_output
    out = {"pixel_values": pixels, "visual": visual}
    halves = {str(dtype).split(".")[1]: parity.rounded(model, dtype) for dtype in (torch.float16, torch.bfloat16)}
    for tag, images in IMAGES.items():
        ids, mask = prompts(config, visual.shape[1], images)
        # 0 is what PaliGemma's prompts have, and answers have 1.
        types = (ids == config.image_token_id).long() * (config.model_type != "paligemma")
        seen = dict(pixel_values=pixels[: sum(images)], token_type_ids=types)
        out[f"{tag}.images"] = torch.tensor(images, dtype=torch.int32)
        out[f"{tag}.input_ids"], out[f"{tag}.attention_mask"] = ids.int(), mask.int()
        out[f"{tag}.logits"], tokens = parity.answer(model, ids, mask, **seen)
        out[f"{tag}.tokens"] = tokens.int()
        blind = parity.answer(model, ids, mask, pixel_values=seen["pixel_values"])[0]
        print("  what two-way attention changes", float((blind - out[f"{tag}.logits"]).abs().max()))
        for dtype, half in halves.items():
            out[f"{tag}.logits_{dtype}"] = parity.answer(copy.deepcopy(half), ids, mask, **seen)[0]
    print("  what bfloat16 changes", float((out["b3.logits"] - out["b3.logits_bfloat16"]).abs().max()))
    print("  distinct tokens", len(set(out["b3.tokens"].flatten().tolist())))
    parity.write_reference(parity.OUT / name, out)


for case in sys.argv[1:] or CASES:
    make(case, *CASES[case])

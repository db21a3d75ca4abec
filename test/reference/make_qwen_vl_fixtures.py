"""Tiny random Qwen2-VL, Qwen2.5-VL and Qwen3-VL models of odd geometry, and what transformers computes for them.

    python test/reference/make_qwen_vl_fixtures.py [CASE ...]

Writes test/fixtures/parity/CASE; parity.py says what is in there. The first prompt of each batch has two images of different sizes, and in the batch
of three the second has none: `pixel_values` are rows of patches, `image_grid_thw` their grids, `visual` the features of all, `deepstack` what
Qwen3-VL adds behind its first layers. Needs torch and transformers.
"""

import copy
import json
import sys

import parity
import torch
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

IMAGES = {"b1": (2,), "b3": (2, 0, 1)}
IDS = dict(pad_token_id=0, bos_token_id=1, eos_token_id=2)
# Of the whole config; the first three stand about images and videos in prompts.
MARKS = dict(vision_start_token_id=3, vision_end_token_id=4, video_token_id=5, image_token_id=6)


def text(sections, head_dim, interleaved=False, scaling=None, **changes):
    rope = dict(rope_type="default", rope_theta=3000.0, mrope_section=sections, **({"mrope_interleaved": True} if interleaved else {}))
    rope.update(scaling or {})
    base = dict(hidden_size=head_dim * 4, intermediate_size=38, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=89,
                max_position_embeddings=128, rope_parameters=rope, **IDS)
    # Qwen2's heads are the hidden size's share.
    return {**base, **({"head_dim": head_dim} if interleaved else {}), **changes}


def vision(**changes):
    return dict(dict(depth=2, num_heads=3, patch_size=3, spatial_merge_size=2, temporal_patch_size=2), **changes)


CASES = {
    "qwen2_vl_odd": (Qwen2VLForConditionalGeneration, Qwen2VLConfig(
        text_config=text([1, 2, 3], 12), vision_config=vision(embed_dim=24, hidden_size=48, mlp_ratio=2), **MARKS),
        [(1, 4, 6), (1, 2, 8), (1, 6, 4)]),
    "qwen2_vl_tied": (Qwen2VLForConditionalGeneration, Qwen2VLConfig(
        text_config=text([2, 1, 1], 8, num_key_value_heads=1, num_hidden_layers=3), tie_word_embeddings=True,
        vision_config=vision(embed_dim=20, num_heads=5, hidden_size=32, mlp_ratio=3, patch_size=2, temporal_patch_size=1, spatial_merge_size=3), **MARKS),
        [(1, 3, 9), (1, 6, 6), (1, 3, 3)]),
    "qwen2_5_vl_odd": (Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLConfig(
        text_config=text([2, 3, 1], 12), vision_config=vision(depth=3, hidden_size=24, intermediate_size=22, out_hidden_size=48, window_size=12, fullatt_block_indexes=[1]),
        **MARKS), [(1, 6, 6), (1, 2, 10), (1, 8, 4)]),
    "qwen2_5_vl_wide": (Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLConfig(
        # Scaled as the published models' authors recommend for long prompts.
        text_config=text([1, 1, 2], 8, num_key_value_heads=4, scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)), tie_word_embeddings=True,
        vision_config=vision(depth=3, hidden_size=32, num_heads=4, intermediate_size=30, out_hidden_size=32, window_size=13, patch_size=4, spatial_merge_size=1,
                             fullatt_block_indexes=[0, 2]), **MARKS), [(1, 4, 3), (1, 1, 5), (1, 2, 7)]),
    "qwen3_vl_odd": (Qwen3VLForConditionalGeneration, Qwen3VLConfig(
        text_config=text([2, 2, 2], 12, interleaved=True, hidden_size=36, num_hidden_layers=3),
        vision_config=vision(depth=3, hidden_size=24, intermediate_size=34, out_hidden_size=36, num_position_embeddings=25, deepstack_visual_indexes=[0, 2]), **MARKS),
        [(1, 4, 6), (1, 2, 8), (1, 6, 2)]),
    "qwen3_vl_tied": (Qwen3VLForConditionalGeneration, Qwen3VLConfig(
        text_config=text([4, 2, 2], 16, interleaved=True, hidden_size=28, num_key_value_heads=1), tie_word_embeddings=True,
        vision_config=vision(depth=2, hidden_size=20, num_heads=5, intermediate_size=26, out_hidden_size=28, num_position_embeddings=49, deepstack_visual_indexes=[1],
                             patch_size=2), **MARKS), [(1, 10, 2), (1, 4, 4), (1, 2, 2)]),
}


def prompts(vocab, features, images):
    """Left-padded rows: two words, each image between its marks with a word behind, the other words."""
    rows, seen = [], 0
    for length, count in zip(parity.LENGTHS, images):
        words = torch.randint(7, vocab, (length,)).tolist()
        row = words[:2]
        for _ in range(count):
            row += [3, *[6] * features[seen], 4, 7 + seen]
            seen += 1
        rows.append(row + words[2:])
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def answer(model, ids, mask, **seen):
    given = dict(input_ids=ids, attention_mask=mask, mm_token_type_ids=(ids == 6).int(), **seen)
    with torch.no_grad():
        model.model.rope_deltas = None
        logits = model(**given).logits[:, -1]
        model.model.rope_deltas = None
        tokens = model.generate(**given, do_sample=False, max_new_tokens=parity.NEW_TOKENS, min_new_tokens=parity.NEW_TOKENS)
    return logits, tokens[:, -parity.NEW_TOKENS:]


def make(name, kind, config, grids):
    torch.manual_seed(sum(name.encode()))
    model = kind(config).float().eval()
    parity.randomise(model)
    model = parity.reseeded(model, name)
    parity.plain_generation(model)
    tower = config.vision_config
    area = (tower.patch_size * tower.spatial_merge_size) ** 2
    processor = dict(image_processor_type="Qwen2VLImageProcessor", patch_size=tower.patch_size, merge_size=tower.spatial_merge_size,
                     temporal_patch_size=tower.temporal_patch_size, min_pixels=area, max_pixels=9 * area)
    (parity.OUT / name / "preprocessor_config.json").write_text(json.dumps(processor) + "\n")
    grid = torch.tensor(grids)
    pixels = torch.randn(int(grid.prod(1).sum()), 3 * tower.temporal_patch_size * tower.patch_size**2)
    features = [int(h * w) // tower.spatial_merge_size**2 for _, h, w in grids]
    with torch.no_grad():
        seen = model.get_image_features(pixel_values=pixels, image_grid_thw=grid)
    out = {"pixel_values": pixels, "image_grid_thw": grid.int(), "visual": torch.cat(list(seen.pooler_output))}
    if getattr(seen, "deepstack_features", None):
        out["deepstack"] = torch.stack(list(seen.deepstack_features))
    halves = {str(dtype).split(".")[1]: parity.rounded(model, dtype) for dtype in (torch.float16, torch.bfloat16)}
    for tag, images in IMAGES.items():
        ids, mask = prompts(config.text_config.vocab_size, features, images)
        given = dict(pixel_values=pixels[: sum(h * w for _, h, w in grids[: sum(images)])], image_grid_thw=grid[: sum(images)])
        out[f"{tag}.images"] = torch.tensor(images, dtype=torch.int32)
        out[f"{tag}.input_ids"], out[f"{tag}.attention_mask"] = ids.int(), mask.int()
        out[f"{tag}.logits"], tokens = answer(model, ids, mask, **given)
        out[f"{tag}.tokens"] = tokens.int()
        for dtype, half in halves.items():
            out[f"{tag}.logits_{dtype}"] = answer(copy.deepcopy(half), ids, mask, **given)[0]
    print("  distinct tokens", len(set(out["b3.tokens"].flatten().tolist())))
    parity.write_reference(parity.OUT / name, out)


for case in sys.argv[1:] or CASES:
    make(case, *CASES[case])

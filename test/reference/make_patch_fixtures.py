"""What transformers' Qwen VL processors and models make of image sizes, of grids of patches, and of prompts with pictures.

    python test/reference/make_patch_fixtures.py

Writes test/fixtures/vision/patches.json: grids of sizes for each processor's settings; tables of packed grids (positions, segments,
windows, entries of the learned position table); M-RoPE positions of prompts. Needs torch and transformers.
"""

import json
import pathlib
import types

import torch
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLModel
from transformers.vision_utils import (get_vision_cu_seqlens, get_vision_interpolation_indices_and_weights, get_vision_position_ids,
                                       get_vision_window_index)

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "vision" / "patches.json"

SIZES = [(1, 1), (1, 199), (200, 1), (14, 42), (42, 70), (70, 98), (19, 7), (7, 19), (5, 989), (989, 5), (31, 23), (100, 101), (333, 500), (500, 333),
         (719, 1281), (2048, 1536), (4096, 21)]
SETTINGS = [dict(patch=14, merge=2, min_pixels=3136, max_pixels=1003520), dict(patch=14, merge=2, min_pixels=3136, max_pixels=12845056),
            dict(patch=16, merge=2, min_pixels=65536, max_pixels=16777216), dict(patch=5, merge=3, min_pixels=900, max_pixels=11000),
            dict(patch=4, merge=1, min_pixels=300, max_pixels=500)]


def resized(settings):
    least, most = settings["min_pixels"], settings["max_pixels"]
    edge = settings["patch"] * settings["merge"]
    return dict(settings=settings, images=[[h, w, *smart_resize(h, w, edge, least, most)] for h, w in SIZES])


GRIDS = [
    dict(merge=2, patch=7, window=56, side=5, grids=[(1, 6, 10), (1, 2, 2), (1, 18, 8)]),
    dict(merge=3, patch=5, window=31, side=4, grids=[(1, 9, 3), (2, 6, 9), (1, 15, 15)]),
    dict(merge=1, patch=4, window=9, side=1, grids=[(3, 1, 5), (1, 1, 1)]),
    dict(merge=2, patch=16, window=32, side=48, grids=[(1, 4, 14), (1, 14, 4)]),
]


def packed(case):
    grids = torch.tensor(case["grids"])
    merge = case["merge"]
    index, windows = get_vision_window_index(grids, merge, case["window"], case["patch"])
    rows, weights = get_vision_interpolation_indices_and_weights(grids, case["side"], align_corners=True, spatial_merge_size=merge)
    return dict(**case, positions=get_vision_position_ids(grids, merge).tolist(), cu_seqlens=get_vision_cu_seqlens(grids).tolist(),
                window_index=index.tolist(), cu_window_seqlens=windows.tolist(), table_rows=rows.tolist(),
                table_weights=[[float(f"{x:.9g}") for x in row] for row in weights.tolist()])


# 0 is a word, 1 a feature of a picture, 9 padding on the left.
PROMPTS = [
    dict(merge=2, grids=[(1, 4, 6), (1, 2, 2), (1, 10, 2)],
         types=[[9] * 12 + [0] * 3 + [1] * 6 + [0], [9] * 4 + [0] + [1] * 1 + [0, 0] + [1] * 5 + [0] * 5, [9] * 3 + [0] * 15]),
    dict(merge=1, grids=[(1, 3, 3), (5, 2, 1)], types=[[0] + [1] * 9 + [0] * 2 + [1] * 10]),
]


def ropes(case):
    longest = max(map(len, case["types"]))
    types_ = torch.tensor([[9] * (longest - len(row)) + row for row in case["types"]])
    mask = (types_ != 9).long()
    config = types.SimpleNamespace(vision_config=types.SimpleNamespace(spatial_merge_size=case["merge"]))
    model = types.SimpleNamespace(config=config, get_vision_position_ids=Qwen2VLModel.get_vision_position_ids.__get__(types.SimpleNamespace()))
    ids = torch.arange(types_.numel()).reshape(types_.shape)
    positions, deltas = Qwen2VLModel.get_rope_index(model, ids, types_ * mask, torch.tensor(case["grids"]), attention_mask=mask)
    rows = [positions[:, i][:, mask[i].bool()].T.tolist() for i in range(len(ids))]
    return dict(merge=case["merge"], grids=case["grids"], types=[row[keep.bool()].tolist() for row, keep in zip(types_, mask)], positions=rows,
                deltas=deltas.flatten().tolist())


def lines(cases):
    return "[\n    " + ",\n    ".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n  ]"


parts = {"sizes": [resized(s) for s in SETTINGS], "packed": [packed(c) for c in GRIDS], "prompts": [ropes(c) for c in PROMPTS]}
OUT.write_text("{\n  " + ",\n  ".join(f'"{name}": {lines(cases)}' for name, cases in parts.items()) + "\n}\n")

"""What transformers' LLaVA-NeXT and LLaVA-OneVision make of image sizes, and which rows their features are put together of.

    python test/reference/make_anyres_fixtures.py

Writes test/fixtures/vision/anyres.json: for each rule [height, width, rows, cols, features] of images by the processors, and `packed`: of
some images what pack_image_features makes of tiles whose row r, counted over the image's tiles, is [r, r % 10] and whose newline is [-1, -1], summed with
weights 1, 2, 3, … 7, 1, 2 … of its rows. Needs torch and transformers.
"""

import json
import pathlib
import types

import torch
from transformers.image_processing_utils import select_best_resolution
from transformers.models.llava_next.modeling_llava_next import LlavaNextModel
from transformers.models.llava_next.processing_llava_next import LlavaNextProcessor
from transformers.models.llava_onevision.modeling_llava_onevision import LlavaOnevisionModel
from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "vision" / "anyres.json"
SIZES = [(1, 1), (1, 65535), (65535, 1), (19, 7), (7, 19), (5, 989), (989, 5), (31, 23), (100, 101), (101, 100), (333, 500), (500, 333), (672, 672), (673, 671),
         (720, 1280), (1158, 950), (1536, 1536), (1920, 1080), (2304, 2304), (4032, 3024)]
SMALL = [(2, 2), (19, 7), (7, 19), (5, 989), (989, 5), (31, 23), (23, 31), (24, 24), (41, 40), (60, 61)]
PUBLISHED = [[1, 2], [2, 1], [2, 2], [3, 1], [1, 3]]
SQUARE = lambda n: [[r, c] for r in range(1, n + 1) for c in range(1, n + 1)]


def rule(tile, side, grids, **more):
    return dict(kind="anyres", tile=tile, side=side, grids=grids, **more)


CASES = [
    (rule(336, 24, PUBLISHED), SIZES),
    (rule(384, 27, SQUARE(6), max_tiles=9, squares_several=True), SIZES),
    (rule(12, 3, [[2, 1], [1, 2], [3, 3], [1, 4]]), SMALL),
    (rule(10, 5, SQUARE(4), max_tiles=2, squares_several=True), SMALL),
]


def pinpoints(rule):
    return [[r * rule["tile"], c * rule["tile"]] for r, c in rule["grids"]]


def features(rule, height, width):
    tile, side = rule["tile"], rule["side"]
    owner = LlavaOnevisionProcessor if "max_tiles" in rule else LlavaNextProcessor
    own = types.SimpleNamespace(image_processor=types.SimpleNamespace(image_grid_pinpoints=pinpoints(rule)), num_image_tokens=side**2, patch_size=tile // side,
                                num_additional_image_tokens=0, vision_aspect_ratio=f"anyres_max_{rule.get('max_tiles')}")
    own._get_unpadded_features = lambda *sizes: owner._get_unpadded_features(own, *sizes)
    return owner._get_number_of_features(own, height, width, tile, tile)


def packed(rule, height, width):
    rows, cols = (edge // rule["tile"] for edge in select_best_resolution((height, width), pinpoints(rule)))
    side = rule["side"]
    count = (rows * cols + 1) * side**2
    numbers = torch.arange(count, dtype=torch.float32)
    tiles = torch.stack([numbers, numbers % 10], -1).view(-1, side**2, 2)
    vision = types.SimpleNamespace(image_size=rule["tile"], patch_size=rule["tile"] // side)
    own = types.SimpleNamespace(config=types.SimpleNamespace(vision_config=vision, image_grid_pinpoints=pinpoints(rule)))
    given = dict(image_newline=torch.tensor([-1.0, -1.0]))
    if "max_tiles" in rule:
        made, _ = LlavaOnevisionModel.pack_image_features(own, [tiles], [(height, width)], vision_aspect_ratio=f"anyres_max_{rule['max_tiles']}", **given)
    else:
        made, _ = LlavaNextModel.pack_image_features(own, [tiles], [(height, width)], vision_feature_select_strategy="default", **given)
    weights = torch.arange(len(made[0]), dtype=torch.float64) % 7 + 1
    return [height, width, *(float(f"{x:.9g}") for x in (weights @ made[0].double()).tolist())]


lines = []
for given, sizes in CASES:
    images = [[h, w, *(edge // given["tile"] for edge in select_best_resolution((h, w), pinpoints(given))), features(given, h, w)] for h, w in sizes]
    lines.append(json.dumps({"rule": given, "images": images, "packed": [packed(given, h, w) for h, w in sizes] if sizes is SMALL else []}))
OUT.write_text("[\n  " + ",\n  ".join(lines) + "\n]\n")

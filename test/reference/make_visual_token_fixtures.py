"""What transformers' image processors make of image sizes: rows, columns and tiles.

    python test/reference/make_visual_token_fixtures.py

Writes test/fixtures/vision/tiles.json: for each processor and its settings, [height, width, rows, cols, tiles] of images. Needs torch
and transformers.
"""

import json
import pathlib

from PIL import Image
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil, get_optimal_tiled_canvas
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "vision" / "tiles.json"
SIZES = [(2, 2), (19, 7), (7, 19), (5, 989), (989, 5), (31, 23), (100, 101), (101, 100), (72, 96), (73, 97), (96, 96), (97, 97), (48, 240), (240, 48),
         (144, 240), (145, 240), (333, 500), (500, 333)]
IDEFICS3 = [dict(longest_edge=96, tile=24), dict(longest_edge=100, tile=24), dict(longest_edge=24, tile=24), dict(longest_edge=16, tile=24),
            dict(longest_edge=90, tile=30, splits=False), dict(longest_edge=4200, tile=1400)]


def idefics3(settings, height, width):
    processor = Idefics3ImageProcessorPil(size={"longest_edge": settings["longest_edge"]}, max_image_size={"longest_edge": settings["tile"]},
                                       do_image_splitting=settings.get("splits", True), resample=0, do_rescale=False, do_normalize=False)
    out = processor(Image.new("RGB", (width, height)), return_row_col_info=True, return_tensors="np")
    return [height, width, out["rows"][0][0], out["cols"][0][0], out["pixel_values"].shape[1]]


INTERNVL = [dict(tile=24, min_tiles=1, max_tiles=12), dict(tile=24, min_tiles=1, max_tiles=1), dict(tile=40, min_tiles=3, max_tiles=7),
            dict(tile=56, min_tiles=2, max_tiles=2)]


def internvl(settings, height, width):
    tile, least, most = settings["tile"], settings["min_tiles"], settings["max_tiles"]
    processor = GotOcr2ImageProcessorPil(size=dict(height=tile, width=tile), min_patches=least, max_patches=most, crop_to_patches=True, resample=0,
                                         do_rescale=False, do_normalize=False)
    tiles = len(processor(Image.new("RGB", (width, height)))["pixel_values"])
    cols, rows = get_optimal_tiled_canvas((height, width), (tile, tile), least, most)
    assert tiles == (1 if rows * cols == 1 else rows * cols + 1)
    return [height, width, rows if tiles > 1 else 0, cols if tiles > 1 else 0, tiles]


cases = [{"kind": "longest_edge_tiles", "settings": s, "images": [idefics3(s, h, w) for h, w in SIZES if s["longest_edge"] < 1000 or h * w < 90000]}
         for s in IDEFICS3]
cases += [{"kind": "aspect_ratio_tiles", "settings": s, "images": [internvl(s, h, w) for h, w in SIZES]} for s in INTERNVL]
OUT.parent.mkdir(exist_ok=True)
lines = [json.dumps(case) for case in cases]
OUT.write_text("[\n  " + ",\n  ".join(lines) + "\n]\n")

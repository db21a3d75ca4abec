"""What image processors that cut images make of them: GotOcr2ImageProcessor, which InternVL has, Idefics3's, LLaVA-NeXT's and LLaVA-OneVision's.

    python test/reference/make_tile_image_fixtures.py

Writes test/fixtures/image/internvl.json, idefics3.json and anyres.json: images are 8-bit noise of a seed, [height, width], repeated by the test; pixels float32 [tiles, 3,
tile, tile]. Needs pillow, numpy, torch and transformers.
"""

import base64
import json
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

OUT = Path(__file__).resolve().parent.parent / "fixtures" / "image"
IDEFICS3 = [(19, 7, dict(longest=24, tile=8)), (13, 41, dict(longest=20, tile=9)), (5, 6, dict(longest=7, tile=7)), (31, 30, dict(longest=32, tile=11, splits=False)),
            (20, 31, dict(longest=18, tile=6, resample=3))]
CASES = [(19, 7, dict(tile=8, min=1, max=12)), (13, 41, dict(tile=11, min=1, max=6)), (5, 5, dict(tile=9, min=1, max=1)), (30, 31, dict(tile=7, min=2, max=4))]

SQUARE = [[1, 1], [1, 2], [2, 1], [2, 2]]
# The last three are OneVision's, the last one an image of several in its prompt.
ANYRES = [(19, 7, dict(tile=8, grids=[[1, 2], [2, 1]])), (13, 41, dict(tile=7, grids=[[1, 2], [2, 1], [2, 2], [3, 1], [1, 3]])), (31, 30, dict(tile=9, grids=SQUARE[1:])),
          (5, 23, dict(tile=6, grids=SQUARE, type="LlavaOnevision")), (24, 19, dict(tile=11, grids=SQUARE, type="LlavaOnevision")),
          (12, 19, dict(tile=9, grids=SQUARE, type="LlavaOnevision", several=True))]


def noise(height, width):
    """Byte i is the high byte of i's product with 2654435761 in 32 bits."""
    i = np.arange(height * width * 3, dtype=np.uint64)
    return ((i * 2654435761 % 2**32) >> 24).astype(np.uint8).reshape(height, width, 3)


def process(height, width, tile, **limits):
    config = dict(size=dict(height=tile, width=tile), min_patches=limits["min"], max_patches=limits["max"])
    pixels = np.stack(GotOcr2ImageProcessorPil(**config, crop_to_patches=True)(Image.fromarray(noise(height, width)))["pixel_values"])
    return dict(height=height, width=width, config=config, tiles=len(pixels), pixels=base64.b64encode(zlib.compress(pixels.astype(np.float32).tobytes(), 9)).decode())


def idefics3(height, width, longest, tile, splits=True, **rest):
    config = dict(size=dict(longest_edge=longest), max_image_size=dict(longest_edge=tile), do_image_splitting=splits, **rest)
    pixels = np.asarray(Idefics3ImageProcessorPil(**config)(Image.fromarray(noise(height, width)), return_tensors="np")["pixel_values"])[0]
    return dict(height=height, width=width, config=config, tiles=len(pixels), pixels=base64.b64encode(zlib.compress(pixels.astype(np.float32).tobytes(), 9)).decode())


def anyres(height, width, tile, grids, type="LlavaNext", several=False):
    config = dict(image_grid_pinpoints=[[rows * tile, cols * tile] for rows, cols in grids], size=dict(height=tile, width=tile))
    config = config if type == "LlavaOnevision" else {**config, "size": dict(shortest_edge=tile), "crop_size": dict(height=tile, width=tile)}
    image = Image.fromarray(noise(height, width))
    processors = dict(LlavaNext=LlavaNextImageProcessorPil, LlavaOnevision=LlavaOnevisionImageProcessorPil)
    made = processors[type](**config)([[image, image]] if several else [image], return_tensors="np")
    pixels = np.asarray(made["pixel_values"])[0]
    assert tuple(made["image_sizes"][0]) == (height, width)
    config["image_processor_type"] = f"{type}ImageProcessor"
    return dict(height=height, width=width, config=config, several=several, tiles=len(pixels),
                pixels=base64.b64encode(zlib.compress(pixels.astype(np.float32).tobytes(), 9)).decode())


if __name__ == "__main__":
    for name, cases, make in (("internvl", CASES, process), ("idefics3", IDEFICS3, idefics3), ("anyres", ANYRES, anyres)):
        lines = [json.dumps(make(height, width, **settings)) for height, width, settings in cases]
        (OUT / f"{name}.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")

"""What Qwen2VLImageProcessor, which all Qwen VL models have, makes of images: rows of patches, and their grid.

    python test/reference/make_patch_image_fixtures.py

Writes test/fixtures/image/patches.json: images are 8-bit noise of a seed, [height, width], or the pictures beside it; of the rows, float32, their SHA-256
and the first numbers. Needs pillow, numpy, torch and transformers.
"""

import hashlib
import json

import numpy as np
from make_tile_image_fixtures import OUT, noise
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

SMALL = dict(patch_size=4, merge_size=2, temporal_patch_size=2, min_pixels=256, max_pixels=1500)
CASES = [(19, 7, SMALL), (7, 19, SMALL), (1, 131, SMALL), (64, 99, SMALL), (12, 20, SMALL), (24, 40, dict(SMALL, resample=2, image_mean=[0.5] * 3, image_std=[0.5] * 3)),
         (31, 30, dict(patch_size=5, merge_size=3, temporal_patch_size=1, size=dict(shortest_edge=900, longest_edge=2000))),
         ("rgb-61x43.png", SMALL), ("rgb-23x31.png", {}), ("grey.jpg", dict(patch_size=7, merge_size=1, temporal_patch_size=3, min_pixels=500)),
         ("edges-30x20.png", dict(SMALL, do_normalize=False))]


def process(image, config):
    given = Image.open(OUT / image).convert("RGB") if isinstance(image, str) else Image.fromarray(noise(*image))
    # Its __init__ writes min_pixels and max_pixels into the default that all instances have.
    Qwen2VLImageProcessorPil.size = dict(shortest_edge=56 * 56, longest_edge=28 * 28 * 1280)
    out = Qwen2VLImageProcessorPil(**config)(given, return_tensors="np")
    rows = np.asarray(out["pixel_values"], dtype=np.float32)
    source = dict(file=image) if isinstance(image, str) else dict(height=image[0], width=image[1])
    return dict(**source, config=config, grid=out["image_grid_thw"][0].tolist(), columns=rows.shape[1], sha256=hashlib.sha256(rows.tobytes()).hexdigest(),
                first=rows.flatten()[:5].astype(float).tolist())


if __name__ == "__main__":
    lines = [json.dumps(process(case[0] if isinstance(case[0], str) else case[:2], case[-1])) for case in CASES]
    (OUT / "patches.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")

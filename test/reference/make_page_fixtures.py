"""Small drawn pages and what transformers' Nougat processor (Pillow) makes of them.

    python test/reference/make_page_fixtures.py

Writes test/fixtures/image/pages.safetensors: page{i} levels as int32 [height, width, 3], pixels{i} [3, 36, 27]. Needs torch and transformers.
"""

import pathlib

import numpy as np
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from transformers.models.nougat.image_processing_pil_nougat import NougatImageProcessorPil

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "image" / "pages.safetensors"


def page(width, height, paper, ink, boxes):
    image = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(image)
    for box in boxes:
        draw.rectangle(box, fill=ink)
    return image


PAGES = [
    page(61, 83, (255, 255, 255), (10, 20, 30), [(9, 7, 40, 9), (9, 20, 50, 22), (12, 60, 13, 70)]),
    page(67, 41, (240, 235, 210), (90, 20, 30), [(3, 5, 60, 8), (20, 30, 50, 33)]),
    page(19, 23, (200, 200, 200), (200, 200, 200), []),
    # A margin of one pixel on the right, and a tall narrow column that is shrunk to fit.
    page(31, 89, (250, 250, 250), (0, 0, 0), [(0, 0, 29, 2), (4, 30, 9, 88)]),
]

processor = NougatImageProcessorPil(size={"height": 36, "width": 27})
out = {}
for i, image in enumerate(PAGES):
    out[f"page{i}"] = torch.from_numpy(np.asarray(image).astype(np.int32))
    out[f"pixels{i}"] = processor(image, return_tensors="pt").pixel_values[0].float().contiguous()
save_file(out, OUT)
print(OUT.stat().st_size, processor.to_dict())
assert OUT.stat().st_size <= 200_000

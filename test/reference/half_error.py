"""How far transformers' own float16 computation is from float32 with the same weights, as a part of the largest logit.

usage: half_error.py FIXTURE_DIR…
The bound that test/engines/build.test.ts holds float16 graphs to, where rounding alone exceeds 2e-3.
"""

import sys

import numpy
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForImageTextToText


def half_error(directory, batch):
    reference = load_file(f"{directory}/reference.safetensors")
    model = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float16).eval()
    ids = torch.tensor(reference[f"{batch}.input_ids"].astype("int64"))
    mask = torch.tensor(reference[f"{batch}.attention_mask"].astype("int64"))
    pixels = torch.tensor(reference["pixel_values"][: ids.shape[0]]).half()
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask, pixel_values=pixels).logits[:, -1].float().numpy()
    wanted = reference[f"{batch}.logits_float16"]
    return numpy.abs(logits - wanted).max() / numpy.abs(wanted).max()


for directory in sys.argv[1:]:
    print(directory, f"{half_error(directory, 'b3'):.4f}")

"""Image processors of two tiny encoder-decoders and the stages of one picture each, for `mmtrt verify`.

    python test/reference/make_verify_fixtures.py

Writes preprocessor_config.json and verify.safetensors into test/fixtures/parity/{nougat_odd, blip2t5_plain}; the text-only
ones are made by make_text_pair_fixtures.py. Needs torch and transformers.
"""

import pathlib

import parity
from make_pair_reference import make_reference
from transformers import BlipImageProcessorPil, NougatImageProcessorPil

IMAGE = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "image" / "rgb-61x43.png"
MODELS = {
    "nougat_odd": (NougatImageProcessorPil(size={"height": 55, "width": 42}), None),
    "blip2t5_plain": (BlipImageProcessorPil(size={"height": 26, "width": 26}), [9, 31, 4, 77, 12, 1]),
}

for name, (processor, ids) in MODELS.items():
    folder = parity.OUT / name
    processor.save_pretrained(folder)
    make_reference(folder, folder / "verify.safetensors", image=IMAGE, ids=ids)
    assert (folder / "verify.safetensors").stat().st_size <= 200_000

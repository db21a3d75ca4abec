"""Ranges of activations by transformers: forward hooks on every linear layer of the decoder, in float32.

Writes test/fixtures/quantize/CASE.safetensors (<module>.x, <module>.y) and CASE.jsonl, the calibration set they are of.
"""

import json
import pathlib

import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoProcessor, LlavaForConditionalGeneration
from transformers.pytorch_utils import Conv1D

ROOT = pathlib.Path(__file__).resolve().parent.parent / "fixtures"
OUT = ROOT / "quantize"


def watch(model):
    ranges = {}

    def keep(name, value):
        most = value.detach().abs().flatten(0, -2).amax(0).float()
        ranges[name] = torch.maximum(ranges[name], most) if name in ranges else most

    def hook(name):
        def keep_both(_, inputs, output):
            keep(f"{name}.x", inputs[0])
            keep(f"{name}.y", output)

        return keep_both

    for name, module in model.named_modules():
        if isinstance(module, (torch.nn.Linear, Conv1D)) and "vision" not in name and "projector" not in name and "head" not in name:
            module.register_forward_hook(hook(name))
    return ranges


def save(case, ranges, lines):
    OUT.mkdir(exist_ok=True)
    save_file({name: value.contiguous() for name, value in ranges.items()}, OUT / f"{case}.safetensors")
    (OUT / f"{case}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def text(case):
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_pretrained(ROOT / "parity" / case, dtype=torch.float32).eval()
    ranges = watch(model)
    lines = [torch.randint(3, model.config.vocab_size - 1, (length,)).tolist() for length in (19, 1, 37)]
    with torch.no_grad():
        for ids in lines:
            model(torch.tensor([ids]))
    save(case, ranges, lines)


def images(case):
    directory = ROOT / "models" / case
    model = LlavaForConditionalGeneration.from_pretrained(directory, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(directory)
    ranges = watch(model)
    questions = [json.loads(line) for line in (directory / "heldout" / "questions.jsonl").read_text().splitlines()[:6]]
    lines = []
    with torch.no_grad():
        for entry in questions:
            content = [{"type": "image"}, {"type": "text", "text": entry["question"]}]
            prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
            picture = Image.open(directory / "heldout" / entry["image"]).convert("RGB")
            inputs = processor(images=picture, text=prompt, return_tensors="pt")
            rest = processor.tokenizer(f" {entry['expected']}", add_special_tokens=False, return_tensors="pt").input_ids
            ids = torch.cat([inputs["input_ids"], rest], 1)
            model(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=inputs["pixel_values"])
            lines.append({**entry, "image": f"../models/{case}/heldout/{entry['image']}"})
    save(case, ranges, lines)


for case in ("llama_tied_bias", "gpt2_usual", "opt_pre", "qwen2_mqa"):
    text(case)
images("llava-shapes")

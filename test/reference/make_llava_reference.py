"""Records what transformers computes at each stage of a LLaVA model.

    python test/reference/make_llava_reference.py MODEL --image I --question Q --output F
    python test/reference/make_llava_reference.py MODEL --batch questions.jsonl --output DIR

Verification compares an engine's stages with these, to say which one went wrong. All
arrays are float32, from the model run in float32 on the CPU, ids int32:

    input_ids      [T]              the prompt, with one image token per feature
    pixel_values   [1, 3, H, W]
    vision         [N, vision]      the selected hidden state, CLS dropped if so selected
    projector      [N, text]
    inputs_embeds  [T, text]
    layer_{k}      [T, text]        after decoder layer k, before the final norm; the
                                    last rows of it only, where --tail asks for that
    logits         [vocabulary]     at the prompt's last position
    tokens         [<= 64]          greedy answer, up to and with the end token
    tokens_free    [64]             greedy without stopping at it: exercises the cache

The metadata says what was asked: image (relative to the file), question, prompt, and
the transformers version.
"""

import argparse
import json
import os
from pathlib import Path

import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoProcessor, LlavaForConditionalGeneration

NEW_TOKENS = 64


def make_prompt(processor, question: str) -> str:
    content = [{"type": "image"}, {"type": "text", "text": question}]
    return processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)


class Stages:
    """Catches tensors on their way through the model's modules."""

    def __init__(self, model: LlavaForConditionalGeneration):
        self.caught: dict[str, torch.Tensor] = {}
        parts = model.model
        parts.multi_modal_projector.register_forward_hook(self._projector)
        parts.language_model.register_forward_pre_hook(self._embeddings, with_kwargs=True)
        for index, layer in enumerate(parts.language_model.layers):
            layer.register_forward_hook(lambda _m, _i, output, name=f"layer_{index}": self._catch(name, output))

    def _catch(self, name: str, value) -> None:
        value = value[0] if isinstance(value, tuple) else value
        # Only the first pass, the prompt's, counts; generation runs the same modules again.
        self.caught.setdefault(name, value.detach().squeeze(0).clone())

    def _projector(self, _module, inputs, output) -> None:
        self._catch("vision", inputs)
        self._catch("projector", output)

    def _embeddings(self, _module, _inputs, keywords) -> None:
        self._catch("inputs_embeds", keywords["inputs_embeds"])


@torch.no_grad()
def greedy_free(model: LlavaForConditionalGeneration, inputs: dict, count: int) -> list[int]:
    """Greedy decoding that pays no heed to the end token."""
    tokens: list[int] = []
    output = model(**inputs, use_cache=True)
    while True:
        token = output.logits[:, -1].argmax(-1, keepdim=True)
        tokens.append(token.item())
        if len(tokens) == count:
            return tokens
        output = model(input_ids=token, past_key_values=output.past_key_values, use_cache=True)


@torch.no_grad()
def make_reference(model, processor, image: Path, question: str, output: Path, tail: int) -> str:
    """Writes one reference file and returns the answer."""
    prompt = make_prompt(processor, question)
    inputs = processor(images=Image.open(image).convert("RGB"), text=prompt, return_tensors="pt")
    stages = Stages(model)
    logits = model(**inputs).logits[0, -1]
    answer = model.generate(**inputs, do_sample=False, max_new_tokens=NEW_TOKENS)
    answer = answer[0, inputs["input_ids"].shape[1] :]
    tensors = {
        "input_ids": inputs["input_ids"][0].int(),
        "pixel_values": inputs["pixel_values"],
        **{name: value[-tail:] if name.startswith("layer_") else value for name, value in stages.caught.items()},
        "logits": logits,
        "tokens": answer.int(),
        "tokens_free": torch.tensor(greedy_free(model, inputs, NEW_TOKENS), dtype=torch.int32),
    }
    metadata = {
        "image": os.path.relpath(image, output.parent),
        "question": question,
        "prompt": prompt,
        "transformers": transformers.__version__,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, output, metadata)
    return processor.decode(answer, skip_special_tokens=True).strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--question")
    parser.add_argument("--batch", type=Path, help='JSON lines {"image", "question"}, images beside the file')
    parser.add_argument("--output", type=Path, required=True, help="the file, or with --batch the folder, to write")
    parser.add_argument("--tail", type=int, default=0, help="keep this many rows of each layer; default: all")
    options = parser.parse_args()
    if (options.batch is None) == (options.image is None or options.question is None):
        parser.error("give --image and --question, or --batch")

    if options.batch:
        lines = [json.loads(line) for line in options.batch.read_text().splitlines()]
        jobs = [
            (options.batch.parent / line["image"], line["question"], options.output / f"{number:03}.safetensors")
            for number, line in enumerate(lines)
        ]
    else:
        jobs = [(options.image, options.question, options.output)]

    processor = AutoProcessor.from_pretrained(options.model)
    for image, question, output in jobs:
        # A fresh model per job: hooks stay on the one they were put on.
        model = LlavaForConditionalGeneration.from_pretrained(
            options.model, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        print(f"{output}: {question} -> {make_reference(model, processor, image, question, output, options.tail)}")


if __name__ == "__main__":
    main()

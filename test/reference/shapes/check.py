"""Writes the held-out files of a trained small model and records what PyTorch answers.

    PYTHONPATH=test/reference python -m shapes.check MODEL_DIR

Every model is asked llava-shapes' `heldout/questions.jsonl` about the pictures there (both
are `shapes.heldout`'s); `questions_two.jsonl` (VILA) asks about two of them at once; `pages.jsonl` (Nougat) about pages, written here too. `expected_hf.json` has the
stored weights' greedy answers in float32, each with its margin: the smallest lead any of
its tokens had over the runner-up, in logits. `reference.safetensors` (but for LLaVA, which
has one of more stages) has the first question's pixel values (Nougat: bytes before
rescaling), features after the projector (or the encoder's output), logits at the prompt's
last position, and tokens.
"""

import argparse
import json
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    DynamicCache,
    SiglipImageProcessorPil,
    VisionEncoderDecoderModel,
)

from . import blip2, qwen, sized, vila
from .heldout import save_png
from .nougat import MAX_TOKENS
from .pages import draw_page, markdown, sample_page
from .vocabulary import IMAGE_TOKEN

NEW_TOKENS = 64
PAIRS = 60
PAGES = 40
LLAVA = "llava-shapes"
PICTURES = "../../llava-shapes/heldout"

# What was generated: tokens, their logits [tokens, vocabulary], and tensors for the reference.
Generated = tuple[list[int], torch.Tensor, dict[str, torch.Tensor]]
Ask = Callable[[list[Image.Image], str], Generated]


def write_questions(folder: Path, name: str) -> list[dict]:
    """The held-out questions, and for VILA those about two pictures."""
    pictures = folder if name == LLAVA else folder / PICTURES
    asked = [json.loads(line) for line in (pictures / "questions.jsonl").read_text().splitlines()]
    if name == LLAVA:
        return asked
    single = [{**item, "image": f"{PICTURES}/{item['image']}"} for item in asked]
    if name != "vila-shapes":
        return single
    rng = random.Random("pairs")
    pairs = []
    for index in range(PAIRS):
        item = asked[index * len(asked) // PAIRS]
        other = rng.choice([one["image"] for one in asked if one["image"] != item["image"]])
        images = [item["image"], other] if index % 2 == 0 else [other, item["image"]]
        pairs.append(
            {
                "images": [f"{PICTURES}/{image}" for image in images],
                "question": vila.of_image(index % 2, item["question"]),
                "expected": item["expected"],
                "kind": "two images",
            }
        )
    _write_lines(folder / "questions_two.jsonl", pairs)
    return single + pairs


def write_pages(folder: Path) -> list[dict]:
    pages = []
    for seed in range(PAGES):
        lines = sample_page(seed, held_out=True)
        save_png(draw_page(lines, seed).convert("L"), folder / f"page_{seed:03}.png")
        pages.append({"image": f"page_{seed:03}.png", "expected": markdown(lines), "kind": "page"})
    _write_lines(folder / "pages.jsonl", pages)
    return [{**page, "question": ""} for page in pages]


def _write_lines(path: Path, items: list[dict]) -> None:
    path.write_text("".join(json.dumps(item) + "\n" for item in items))


def ask_transformers(folder: Path) -> Ask:
    """LLaVA, BLIP-2 and GPT-2: the model and processor of the checkpoint."""
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).float().eval()
    processor = AutoProcessor.from_pretrained(folder)

    def ask(images: list[Image.Image], question: str) -> Generated:
        if model.config.model_type == "blip-2":
            prompt = blip2.PROMPT.format(question=question)
        else:
            content = [{"type": "image"}, {"type": "text", "text": question}]
            prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        inputs = processor(images=images[0], text=prompt, return_tensors="pt")
        output = model.generate(
            **inputs, do_sample=False, max_new_tokens=NEW_TOKENS, return_dict_in_generate=True, output_logits=True
        )
        logits = torch.cat(output.logits)
        features = model.get_image_features(inputs["pixel_values"]).pooler_output
        extra = {
            "input_ids": inputs["input_ids"][0].int(),
            "pixel_values": inputs["pixel_values"],
            "features": (features[0] if isinstance(features, list | tuple) else features).reshape(
                -1, model.config.text_config.hidden_size
            ),
        }
        return output.sequences[0, -len(logits) :].tolist(), logits, extra

    ask.decode = lambda tokens: processor.decode(tokens, skip_special_tokens=True).strip()  # type: ignore[attr-defined]
    return ask


def ask_sized(folder: Path) -> Ask:
    """Models of tiles, whose processors ask for torchvision: image processor and tokenizer on their own, prompts as the processor writes them."""
    family = sized.FAMILIES[folder.resolve().name]()
    model = type(family.model).from_pretrained(folder, dtype=torch.float32).float().eval()
    tokenizer = family.tokenizer

    def ask(images: list[Image.Image], question: str) -> Generated:
        grid, _ = family.cut(images[0])
        pixels = torch.from_numpy(family.pixels(images[0]))
        words = tokenizer.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}], add_generation_prompt=True, tokenize=False
        )
        ids = tokenizer(family.expanded(words, grid), add_special_tokens=False, return_tensors="pt")["input_ids"]
        output = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values=family.batched(pixels),
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
            return_dict_in_generate=True,
            output_logits=True,
        )
        logits = torch.cat(output.logits)
        features = family.features_of(model, pixels)
        extra = {"input_ids": ids[0].int(), "pixel_values": pixels, "features": features.flatten(0, 1)}
        return output.sequences[0, -len(logits) :].tolist(), logits, extra

    ask.decode = lambda tokens: tokenizer.decode(tokens, skip_special_tokens=True).strip()  # type: ignore[attr-defined]
    return ask


def ask_qwen(folder: Path) -> Ask:
    family = qwen.Qwen()
    model = type(family.model).from_pretrained(folder, dtype=torch.float32).float().eval()
    tokenizer = family.tokenizer

    def ask(images: list[Image.Image], question: str) -> Generated:
        seen = family.processor(images[0], return_tensors="pt")
        words = tokenizer.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}], add_generation_prompt=True, tokenize=False
        )
        patches = seen["image_grid_thw"].prod().item()
        ids = tokenizer(words.replace(qwen.PAD, qwen.PAD * (patches // qwen.MERGE**2)), return_tensors="pt")["input_ids"]
        output = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=(ids == family.image_id).int(),
            **seen,
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
            return_dict_in_generate=True,
            output_logits=True,
        )
        logits = torch.cat(output.logits)
        extra = {
            "input_ids": ids[0].int(),
            "pixel_values": seen["pixel_values"],
            "image_grid_thw": seen["image_grid_thw"].int(),
            "features": torch.cat([*model.get_image_features(**seen).pooler_output]),
        }
        return output.sequences[0, -len(logits) :].tolist(), logits, extra

    ask.decode = lambda tokens: tokenizer.decode(tokens, skip_special_tokens=True).strip()  # type: ignore[attr-defined]
    return ask


def ask_vila(folder: Path) -> Ask:
    model, tokenizer = vila.Vila.load(folder), vila.load_tokenizer(folder)
    image_processor = SiglipImageProcessorPil.from_pretrained(folder / "vision_tower")
    image_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)

    def ask(images: list[Image.Image], question: str) -> Generated:
        pixels = image_processor(images, return_tensors="pt")["pixel_values"]
        ids = tokenizer(vila.PROMPT.format(images=f"{IMAGE_TOKEN}\n" * len(images), question=question))["input_ids"]
        cache, inputs, tokens, logits = DynamicCache(), {"inputs_embeds": model.embed(ids, pixels, image_id)}, [], []
        while len(tokens) < NEW_TOKENS and (not tokens or tokens[-1] != tokenizer.eos_token_id):
            logits.append(model.llm(**inputs, past_key_values=cache, use_cache=True).logits[0, -1:])
            tokens.append(logits[-1].argmax().item())
            inputs = {"input_ids": torch.tensor([tokens[-1:]])}
        extra = {"input_ids": torch.tensor(ids).int(), "pixel_values": pixels, "features": model.features(pixels)}
        return tokens, torch.cat(logits), extra

    ask.decode = lambda tokens: tokenizer.decode(tokens, skip_special_tokens=True).strip()  # type: ignore[attr-defined]
    return ask


def ask_nougat(folder: Path) -> Ask:
    model = VisionEncoderDecoderModel.from_pretrained(folder, dtype=torch.float32).float().eval()
    processor = AutoProcessor.from_pretrained(folder)

    def ask(images: list[Image.Image], _question: str) -> Generated:
        pixels = processor.image_processor(images[0], return_tensors="pt")["pixel_values"]
        output = model.generate(
            pixels, do_sample=False, max_new_tokens=MAX_TOKENS, return_dict_in_generate=True, output_logits=True
        )
        # Bytes, before the arithmetic: a page is large.
        whole = processor.image_processor(images[0], do_rescale=False, do_normalize=False, return_tensors="pt")
        extra = {
            "pixels": whole["pixel_values"].to(torch.uint8),
            "features": model.encoder(pixels).last_hidden_state[0],
        }
        return output.sequences[0, 1:].tolist(), torch.cat(output.logits), extra

    ask.decode = lambda tokens: processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()  # type: ignore[attr-defined]
    return ask


@torch.no_grad()
def answer_all(ask: Ask, folder: Path, asked: list[dict]) -> None:
    right: dict[str, list[bool]] = defaultdict(list)
    answers = []
    for item in asked:
        names = item.get("images") or [item["image"]]
        images = [Image.open(folder / name).convert("RGB") for name in names]
        tokens, logits, extra = ask(images, item["question"])
        best = logits.topk(2).values
        text = ask.decode(tokens)  # type: ignore[attr-defined]
        for kind in (item["kind"], "all"):
            right[kind].append(text == item["expected"])
        if not answers and folder.parent.name != LLAVA:
            reference = {**extra, "logits": logits[0], "tokens": torch.tensor(tokens).int()}
            about = {"image": f"heldout/{names[0]}", "question": item["question"], "transformers": transformers.__version__}
            save_file(
                {name: value.detach().contiguous() for name, value in reference.items()},
                folder.parent / "reference.safetensors",
                metadata=about,
            )
        margin = round((best[:, 0] - best[:, 1]).min().item(), 3)
        given = {key: item[key] for key in ("image", "images", "question") if item.get(key)}
        answers.append({**given, "text": text, "tokens": tokens, "margin": margin})
    report = {
        "transformers": transformers.__version__,
        "compute": "float32",
        "accuracy": {kind: round(sum(values) / len(values), 4) for kind, values in sorted(right.items())},
        "asked": {kind: len(values) for kind, values in sorted(right.items())},
    }
    # One answer a line: the file stays short and its changes readable.
    lines = ",\n".join("    " + json.dumps(item) for item in answers)
    head = json.dumps(report, indent=2)[:-2]
    (folder / "expected_hf.json").write_text(f'{head},\n  "answers": [\n{lines}\n  ]\n}}\n')
    print(json.dumps(report, indent=2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    options = parser.parse_args()
    name = options.model.resolve().name
    folder = options.model / "heldout"
    folder.mkdir(exist_ok=True)
    if name == "nougat-shapes":
        answer_all(ask_nougat(options.model), folder, write_pages(folder))
    else:
        own = {qwen.NAME: ask_qwen, "vila-shapes": ask_vila, **dict.fromkeys(sized.FAMILIES, ask_sized)}
        ask = own.get(name, ask_transformers)
        answer_all(ask(options.model), folder, write_questions(folder, name))


if __name__ == "__main__":
    main()

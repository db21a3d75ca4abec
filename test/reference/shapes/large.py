"""Writes a large held-out set for a trained small model, in the form of `mmtrt run --check_accuracy`.

    PYTHONPATH=test/reference python -m shapes.large MODEL_DIR --output DIR [--count 200]

makes pictures that are in no other set and DIR/truth.jsonl with what is right, and asks PyTorch (stored weights, float32):
DIR/pytorch.jsonl has its answers in place of the truth, so that both

    mmtrt run --engine_dir E --check_accuracy DIR/truth.jsonl      accuracy, beside PyTorch's printed here
    mmtrt run --engine_dir E --check_accuracy DIR/pytorch.jsonl    how often the two say the same

can be read off. What was seen is in docs/guide/accuracy.md.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import torch
from PIL import Image

from .check import ask_nougat, ask_transformers, ask_vila
from .heldout import ask, save_png
from .pages import draw_page, markdown, sample_page
from .scenes import draw, sample_scene

# Seeds of held-out scenes and pages from here on are asked nowhere else.
FIRST = 50_000


def write_pages(folder: Path, count: int) -> list[dict]:
    items = []
    for seed in range(FIRST, FIRST + count):
        lines = sample_page(seed, held_out=True)
        save_png(draw_page(lines, seed).convert("L"), folder / f"{seed}.png")
        items.append({"image": f"{seed}.png", "expected": markdown(lines)})
    return items


def write_questions(folder: Path, count: int) -> list[dict]:
    items, asked = [], Counter()
    for seed in range(FIRST, FIRST + (count + 1) // 2):
        scene = sample_scene(seed, held_out=True)
        save_png(draw(scene), folder / f"{seed}.png")
        for question in ask(seed, scene, 2, asked):
            items.append({"image": f"{seed}.png", "question": question.text, "expected": question.answer})
    return items[:count]


def write_lines(path: Path, items: list[dict]) -> None:
    path.write_text("".join(json.dumps(item) + "\n" for item in items))


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200)
    options = parser.parse_args()
    name = options.model.resolve().name
    options.output.mkdir(parents=True, exist_ok=True)
    is_nougat = name == "nougat-shapes"
    items = (write_pages if is_nougat else write_questions)(options.output, options.count)
    write_lines(options.output / "truth.jsonl", items)
    answer = (ask_nougat if is_nougat else ask_vila if name == "vila-shapes" else ask_transformers)(options.model)
    answers = []
    for item in items:
        image = Image.open(options.output / item["image"]).convert("RGB")
        tokens, _, _ = answer([image], item.get("question", ""))
        answers.append({**item, "expected": answer.decode(tokens)})  # type: ignore[attr-defined]
    write_lines(options.output / "pytorch.jsonl", answers)
    right = sum(mine["expected"] == true["expected"] for mine, true in zip(answers, items))
    print(f"{name}: PyTorch is right on {right} of {len(items)}: {100 * right / len(items):.2f} %")


if __name__ == "__main__":
    main()

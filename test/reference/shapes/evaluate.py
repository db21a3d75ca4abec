"""Asks transformers the held-out questions and records what it answers.

    PYTHONPATH=test/reference python -m shapes.evaluate MODEL_DIR

writes `MODEL_DIR/heldout/expected_hf.json`: greedy answers of the stored weights, run in
float32, one question at a time. Each has its margin: the smallest lead any of its tokens
had over the runner-up, in logits. Lower precision may well turn a small one.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import torch
import transformers
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

NEW_TOKENS = 64


@torch.no_grad()
def answer(model, processor, image: Path, question: str) -> dict:
    content = [{"type": "image"}, {"type": "text", "text": question}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(images=Image.open(image).convert("RGB"), text=prompt, return_tensors="pt")
    output = model.generate(
        **inputs, do_sample=False, max_new_tokens=NEW_TOKENS, return_dict_in_generate=True, output_logits=True
    )
    tokens = output.sequences[0, inputs["input_ids"].shape[1] :]
    best = torch.cat(output.logits).topk(2).values
    return {
        "text": processor.decode(tokens, skip_special_tokens=True).strip(),
        "tokens": tokens.tolist(),
        "margin": round((best[:, 0] - best[:, 1]).min().item(), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    options = parser.parse_args()
    folder = options.model / "heldout"
    processor = AutoProcessor.from_pretrained(options.model)
    model = AutoModelForImageTextToText.from_pretrained(options.model, dtype=torch.float32).eval()

    right: dict[str, list[bool]] = defaultdict(list)
    answers = []
    for line in (folder / "questions.jsonl").read_text().splitlines():
        asked = json.loads(line)
        given = answer(model, processor, folder / asked["image"], asked["question"])
        for kind in (asked["kind"], "all"):
            right[kind].append(given["text"] == asked["expected"])
        answers.append({"image": asked["image"], "question": asked["question"], **given})
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


if __name__ == "__main__":
    main()

"""Writes the held-out pictures and questions that ship with a test model.

    PYTHONPATH=test/reference python -m shapes.heldout MODEL_DIR

makes `MODEL_DIR/heldout/` (60 pictures, 200 questions, see `sample_scene`) and the demo
pictures beside the model. Same files each time.
"""

import argparse
import json
import random
from collections import Counter
from pathlib import Path

from PIL import Image

from .questions import Question, all_questions
from .scenes import COLOURS, Scene, Shape, draw, sample_scene

IMAGES = 60
QUESTIONS = 200

# name: (width, height, background, shapes as (colour, kind, row, column, outlined))
DEMOS = {
    "demo.png": (
        320,
        240,
        ((238, 246, 255), (255, 244, 230)),
        [("red", "circle", 0, 0, False), ("green", "triangle", 1, 2, True), ("blue", "star", 2, 0, False)],
    ),
    "demo-dark.png": (
        240,
        360,
        ((16, 20, 44), (40, 24, 48)),
        [("yellow", "star", 0, 1, False), ("orange", "square", 2, 1, True)],
    ),
    "demo-four.png": (
        360,
        200,
        ((255, 255, 255), (255, 255, 255)),
        [
            ("purple", "cross", 0, 0, False),
            ("yellow", "circle", 0, 2, True),
            ("red", "square", 1, 1, False),
            ("green", "star", 2, 2, False),
        ],
    ),
}


def ask(seed: int, scene: Scene, count: int, asked: Counter) -> list[Question]:
    """Picks questions of the kinds asked least so far."""
    rng = random.Random(f"held-out-{seed}")
    questions = all_questions(scene, rng)
    rng.shuffle(questions)
    chosen: list[Question] = []
    while len(chosen) < count:
        kinds = {question.kind for question in chosen}
        left = [question for question in questions if question.kind not in kinds]
        chosen.append(min(left, key=lambda question: asked[question.kind]))
        asked[chosen[-1].kind] += 1
    return chosen


def write_held_out(folder: Path) -> Counter:
    folder.mkdir(parents=True, exist_ok=True)
    asked: Counter = Counter()
    lines = []
    for seed in range(IMAGES):
        scene = sample_scene(seed, held_out=True)
        name = f"img_{seed:03}.png"
        save_png(draw(scene), folder / name)
        count = QUESTIONS * (seed + 1) // IMAGES - QUESTIONS * seed // IMAGES
        for question in ask(seed, scene, count, asked):
            line = {"image": name, "question": question.text, "expected": question.answer, "kind": question.kind}
            lines.append(json.dumps(line))
    (folder / "questions.jsonl").write_text("\n".join(lines) + "\n")
    return asked


def write_demos(folder: Path) -> None:
    for name, (width, height, background, shapes) in DEMOS.items():
        placed = tuple(
            Shape(kind, colour, row, column, 0.0, 0.0, 0.44, 0.0, COLOURS[colour], outlined)
            for colour, kind, row, column, outlined in shapes
        )
        save_png(draw(Scene(placed, width, height, background)), folder / name)


def save_png(image: Image.Image, path: Path) -> None:
    image.save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="folder of the model")
    options = parser.parse_args()
    print(dict(write_held_out(options.model / "heldout")))
    write_demos(options.model)


if __name__ == "__main__":
    main()

"""Draws the training pictures once, for every model family that trains beside the others.

    PYTHONPATH=test/reference python -m shapes.pool --output DIR --images 200000

Drawing costs far more than any other part of the feed, so it is shared: each chunk file
holds the pictures in every cut below, as bytes, and twelve questions about each. Chunks
appear whole and in order. Same files each time.
"""

import argparse
import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image
from transformers import CLIPImageProcessorPil

from .feed import as_typed
from .questions import Question, all_questions
from .scenes import draw, sample_scene

SQUARE_SIDE = 84
CROP_SIDE = 72
# Questions come in sets; those of a set ask different things as far as there are such.
SETS, SET_SIZE = 2, 6
CHUNK = 500


def square(image: Image.Image) -> np.ndarray:
    """The whole picture, squeezed: what BLIP's and SigLIP's image processors do."""
    return np.asarray(image.resize((SQUARE_SIDE, SQUARE_SIDE), Image.Resampling.BICUBIC))


_clip = CLIPImageProcessorPil(
    size={"shortest_edge": CROP_SIDE}, crop_size={"height": CROP_SIDE, "width": CROP_SIDE}
)


def crop(image: Image.Image) -> np.ndarray:
    """The central square: what CLIP's image processor does."""
    pixels = _clip(image, do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"]
    return pixels[0].astype(np.uint8).transpose(1, 2, 0)


CUTS: dict[str, Callable[[Image.Image], np.ndarray]] = {"square": square, "crop": crop}


@dataclass
class Chunk:
    """Images [n, h, w, 3] of one cut; SETS * SET_SIZE questions for each."""

    images: np.ndarray
    questions: list[list[Question]]


def _question_sets(questions: list[Question], rng: random.Random) -> list[Question]:
    by_kind: dict[str, list[Question]] = {}
    for question in questions:
        by_kind.setdefault(question.kind, []).append(question)
    chosen = []
    for _ in range(SETS):
        kinds = sorted(by_kind)
        picked = rng.sample(kinds, min(SET_SIZE, len(kinds)))
        picked += rng.choices(kinds, k=SET_SIZE - len(picked))
        chosen += [rng.choice(by_kind[kind]) for kind in picked]
    return chosen


def draw_chunk(seeds: range, held_out: bool = False) -> tuple[dict[str, np.ndarray], list[list[Question]]]:
    cuts: dict[str, list[np.ndarray]] = {name: [] for name in CUTS}
    asked = []
    for seed in seeds:
        scene = sample_scene(seed, held_out)
        image = draw(scene)
        for name, cut in CUTS.items():
            cuts[name].append(cut(image))
        rng = random.Random(f"questions-{seed}")
        questions = _question_sets(all_questions(scene, rng), rng)
        if not held_out:
            questions = [Question(item.kind, as_typed(item.text, rng), item.answer) for item in questions]
        asked.append(questions)
    return {name: np.stack(images) for name, images in cuts.items()}, asked


def _write_chunk(job: tuple[Path, int, range]) -> None:
    folder, index, seeds = job
    cuts, asked = draw_chunk(seeds)
    text = json.dumps([[[item.kind, item.text, item.answer] for item in items] for items in asked])
    aside = folder / f"{index:05}.part"
    with aside.open("wb") as file:
        np.savez(file, questions=np.frombuffer(text.encode(), np.uint8), **cuts)
    aside.rename(folder / f"{index:05}.npz")


def read_chunk(folder: Path, index: int, cut: str) -> Chunk | None:
    """The chunk, or None if it is not there yet."""
    path = folder / f"{index:05}.npz"
    if not path.exists():
        return None
    with np.load(path) as arrays:
        asked = json.loads(arrays["questions"].tobytes())
        return Chunk(arrays[cut], [[Question(*item) for item in items] for items in asked])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first: fresh ones to go on training with")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    starts = range(0, options.images, CHUNK)
    jobs = [
        (options.output, i, range(options.first + start, options.first + min(start + CHUNK, options.images)))
        for i, start in enumerate(starts)
    ]
    with get_context("fork").Pool(options.workers) as workers:
        for _ in workers.imap(_write_chunk, jobs):
            pass


if __name__ == "__main__":
    main()

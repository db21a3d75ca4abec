"""Turns scenes into training arrays, on all cores, in a fixed order.

A conversation is one image and a few questions about it in random order. Each image
comes with several conversations, so one picture, the costly part, serves many steps.
Arrays hold the image as bytes, cut to size by the model's own image processor, and the
token ids with a mask of the positions to learn: the answers.
"""

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
from PIL import Image

from .questions import Question, all_questions
from .scenes import draw, sample_scene

# Maps the questions of one conversation to token ids and a mask of learned positions.
Encode = Callable[[list[Question]], tuple[list[int], list[bool]]]
# Maps a picture to a [height, width, 3] array of bytes.
Crop = Callable[[Image.Image], np.ndarray]


@dataclass
class Arrays:
    """Images [n, h, w, 3], ids and learned [n, conversations, length]; kinds per conversation."""

    images: np.ndarray
    ids: np.ndarray
    learned: np.ndarray
    kinds: list[list[str]]


@dataclass(frozen=True)
class Recipe:
    encode: Encode
    crop: Crop
    pad_id: int
    length: int
    conversations: int
    turns: int
    held_out: bool = False


def make_arrays(recipe: Recipe, seeds: range) -> Arrays:
    shape = (len(seeds), recipe.conversations, recipe.length)
    ids = np.full(shape, recipe.pad_id, np.int16)
    learned = np.zeros(shape, bool)
    images, kinds = [], []
    for row, seed in enumerate(seeds):
        scene = sample_scene(seed, recipe.held_out)
        images.append(recipe.crop(draw(scene)))
        rng = random.Random(f"questions-{seed}")
        kinds.append([])
        for column in range(recipe.conversations):
            asked = _pick(all_questions(scene, rng), recipe.turns, rng)
            if not recipe.held_out:
                asked = [Question(item.kind, as_typed(item.text, rng), item.answer) for item in asked]
            tokens, mask = recipe.encode(asked)
            ids[row, column, : len(tokens)] = tokens[: recipe.length]
            learned[row, column, : len(mask)] = mask[: recipe.length]
            kinds[-1].append(asked[0].kind)
    return Arrays(np.stack(images), ids, learned, kinds)


def _pick(questions: list[Question], turns: int, rng: random.Random) -> list[Question]:
    """Picks questions so that every kind comes up equally often, however many it has."""
    by_kind: dict[str, list[Question]] = {}
    for question in questions:
        by_kind.setdefault(question.kind, []).append(question)
    kinds = rng.sample(sorted(by_kind), min(turns, len(by_kind)))
    return [rng.choice(by_kind[kind]) for kind in kinds]


def as_typed(text: str, rng: random.Random) -> str:
    """Sometimes drops the capital or the final mark, as people at a prompt do."""
    if rng.random() < 0.1:
        text = text[0].lower() + text[1:]
    if rng.random() < 0.1:
        text = text[:-1]
    return text


def stream(recipe: Recipe, images: int, chunk: int, workers: int = 0) -> Iterator[Arrays]:
    """Yields the arrays of scenes 0, 1, 2, ... in order, `chunk` scenes at a time."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one process a core is enough
    global _recipe
    _recipe = recipe  # inherited by the forked workers: recipes need not be picklable
    starts = range(0, images, chunk)
    with get_context("fork").Pool(workers or os.cpu_count()) as pool:
        yield from pool.imap(_chunk, [range(start, min(start + chunk, images)) for start in starts])


_recipe: Recipe | None = None


def _chunk(seeds: range) -> Arrays:
    assert _recipe is not None
    return make_arrays(_recipe, seeds)

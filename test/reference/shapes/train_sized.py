"""Trains a small model that sees images of any size, and saves it as a checkpoint.

    PYTHONPATH=test/reference python -m shapes.train_sized internvl-shapes --output DIR

Pictures are drawn and cut by worker processes while it trains, and kept on the device by their grid of tiles: a batch has
one grid. The features of an image are computed once and serve all questions of a set.
"""

import argparse
import copy
import os
import random
from collections import defaultdict
from multiprocessing import get_context
from multiprocessing import TimeoutError as NotYet

import numpy as np
import torch

from . import loop
from .feed import as_typed
from .loop import Normalise
from .pool import SET_SIZE, SETS, _question_sets
from .questions import Question, all_questions
from .scenes import draw, sample_scene
from .sized import FAMILIES, Grid, Sized

CHUNK = 100
_family: Sized

# Of one grid: tiles [images, tiles, h, w, 3], ids and learned [images, questions, length], the questions' kinds.
Part = tuple[np.ndarray, np.ndarray, np.ndarray, list[list[str]]]


def _draw(job: tuple[range, bool]) -> dict[Grid, Part]:
    seeds, held_out = job
    found: dict[Grid, list] = defaultdict(list)
    for seed in seeds:
        scene = sample_scene(seed, held_out)
        grid, tiles = _family.cut(draw(scene))
        rng = random.Random(f"questions-{seed}")
        questions = _question_sets(all_questions(scene, rng), rng)
        if not held_out:
            questions = [Question(item.kind, as_typed(item.text, rng), item.answer) for item in questions]
        found[grid].append((tiles, questions))
    return {grid: _encoded(items) for grid, items in found.items()}


def _encoded(items: list) -> Part:
    shape = (len(items), SETS * SET_SIZE, _family.length)
    ids, learned = np.full(shape, _family.tokenizer.pad_token_id, np.int16), np.zeros(shape, bool)
    for image, (_, questions) in enumerate(items):
        for column, question in enumerate(questions):
            tokens, mask = _family.row(question.text, question.answer)
            ids[image, column, : len(tokens)] = tokens
            learned[image, column, : len(mask)] = mask
    kinds = [[question.kind for question in questions] for _, questions in items]
    return np.stack([tiles for tiles, _ in items]), ids, learned, kinds


class Pool:
    """The training set on the device, by grid; it grows as the workers deliver."""

    def __init__(self, options: argparse.Namespace):
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        self.device = options.device
        self.workers = get_context("fork").Pool(options.workers)  # before anything touches the accelerator
        held_out = range(1000, 1000 + options.validation)
        jobs = [(range(i, min(i + 20, held_out.stop)), True) for i in range(held_out.start, held_out.stop, 20)]
        self.held_out = self.workers.map(_draw, jobs)
        self.feed = self.workers.imap(_draw, [(range(i, i + CHUNK), False) for i in range(0, options.images, CHUNK)])
        self.parts: dict[Grid, list[list[torch.Tensor]]] = defaultdict(list)
        self.sizes: dict[Grid, int] = defaultdict(int)

    def grow(self, at_least: int) -> None:
        while sum(self.sizes.values()) < at_least:
            self._add(next(self.feed))
        try:  # what is ready, no waiting
            while True:
                self._add(self.feed.next(timeout=0.0005))
        except (NotYet, StopIteration):
            pass

    def _add(self, chunk: dict[Grid, Part]) -> None:
        for grid, (tiles, ids, learned, _) in chunk.items():
            self.parts[grid].append([torch.from_numpy(array).to(self.device) for array in (tiles, ids, learned)])
            self.sizes[grid] += len(tiles)
            if len(self.parts[grid]) > 32:  # few and large: a batch is gathered from one of them or several
                joined = [torch.cat(arrays) for arrays in zip(*self.parts[grid])]
                self.parts[grid] = [joined]

    def batch(self, size: int, rng: random.Random):
        """Grids as often as they occur."""
        grids = sorted(self.sizes)
        grid = rng.choices(grids, [self.sizes[one] for one in grids])[0]
        parts = self.parts[grid]
        part = rng.choices(parts, [len(one[0]) for one in parts])[0]
        rows = torch.randint(len(part[0]), (size,)).to(self.device)
        which = rng.randrange(SETS)
        columns = slice(which * SET_SIZE, (which + 1) * SET_SIZE)
        return grid, part[0][rows], part[1][rows, columns].long(), part[2][rows, columns]


def normalised(normalise: Normalise, tiles: torch.Tensor) -> torch.Tensor:
    return normalise(tiles.flatten(0, 1)).unflatten(0, tiles.shape[:2])


@torch.no_grad()
def accuracy(family: Sized, normalise: Normalise, held_out: list[dict[Grid, Part]], device: str) -> dict[str, float]:
    """Exact match: greedy decoding goes wrong where one token of the answer is not the likeliest after those before it."""
    family.model.eval()
    right: dict[str, list[bool]] = defaultdict(list)
    for chunk in held_out:
        for grid, (tiles, ids, learned, kinds) in chunk.items():
            arrays = [torch.from_numpy(array).to(device) for array in (tiles, ids, learned)]
            logits, targets, row = family.answer_logits(grid, normalised(normalise, arrays[0]), arrays[1].long(), arrays[2])
            asked = [kind for one in kinds for kind in one]
            wrong = torch.zeros(len(asked), dtype=torch.long, device=device)
            wrong.index_add_(0, row, (logits.argmax(-1) != targets).long())
            for kind, count in zip(asked, wrong.tolist(), strict=True):
                right[kind].append(count == 0)
    family.model.train()
    result = {kind: sum(values) / len(values) for kind, values in sorted(right.items())}
    result["all"] = sum(map(sum, right.values())) / sum(map(len, right.values()))
    return result


def train(family: Sized, options: argparse.Namespace) -> None:
    pool = Pool(options)
    family.model.to(options.device).train()
    normalise = Normalise(family.image_mean, family.image_std, options.device)
    rng = random.Random(1)
    pool.grow(min(options.images, 4000))

    def answers(step: int, _progress: float) -> tuple[torch.Tensor, torch.Tensor]:
        if step % 4 == 0:
            pool.grow(0)
        grid, tiles, ids, learned = pool.batch(options.batch, rng)
        return family.answer_logits(grid, normalised(normalise, tiles), ids, learned)[:2]

    def save() -> None:
        shadow = copy.copy(family)
        shadow.model = copy.deepcopy(family.model).cpu()
        shadow.save(options.output / family.name)

    def measure() -> dict[str, float]:
        return accuracy(family, normalise, pool.held_out, options.device)

    groups = loop.parameter_groups(family.model)
    loop.train(loop.Training(family.name, family.model, groups, answers, measure, save), options)
    loop.log(family.name, options, f"{sum(pool.sizes.values())} pictures: {dict(pool.sizes)}")
    pool.workers.terminate()


def main() -> None:
    parser = loop.parser(__doc__, steps=20_000, batch=96, images=150_000)
    parser.add_argument("family", choices=sorted(FAMILIES))
    parser.add_argument("--workers", type=int, default=6, help="processes that draw")
    options = parser.parse_args()
    global _family
    _family = family = FAMILIES[options.family]()
    options.rate = options.rate or family.rate
    if options.start:
        family.model = type(family.model).from_pretrained(options.start, dtype=torch.float32).float()
    parameters = sum(parameter.numel() for parameter in family.model.parameters())
    loop.log(family.name, options, f"{parameters} parameters, {len(family.tokenizer)} tokens")
    train(family, options)


if __name__ == "__main__":
    main()

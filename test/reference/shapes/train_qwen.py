"""Trains the small Qwen2.5-VL, on a processor: first its tower alone, to say what lies where, then all of it, to answer.

    PYTHONPATH=test/reference python -m shapes.train_qwen --words test/fixtures/models/vila-shapes/llm --output DIR --seconds 2650

The words are vila-shapes' and know what questions ask, so only seeing is new: an hour on a core is enough.
"""

import argparse
import copy
import random
import time
from collections import defaultdict
from multiprocessing import TimeoutError as NotYet
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import nn

from . import loop
from .feed import as_typed
from .loop import Normalise
from .pool import SET_SIZE, SETS, _question_sets
from .qwen import NAME, Grid, Packed, Qwen
from .questions import Question, all_questions
from .scenes import COLOURS, KINDS, Scene, draw, sample_scene

CHUNK = 50
_family: Qwen


class Picture:
    """One image: bytes [h, w, 3], what each feature shows (colour, kind; 0 is none), and its questions' rows."""

    def __init__(self, seed: int, held_out: bool):
        scene = sample_scene(seed, held_out)
        self.grid, self.pixels = _family.cut(draw(scene))
        self.shows = shown(scene, self.grid)
        rng = random.Random(f"questions-{seed}")
        asked = _question_sets(all_questions(scene, rng), rng)
        if not held_out:
            asked = [Question(item.kind, as_typed(item.text, rng), item.answer) for item in asked]
        self.kinds = [item.kind for item in asked]
        self.rows = [tuple(map(np.array, _family.row(item.text, item.answer))) for item in asked]


def shown(scene: Scene, grid: Grid) -> np.ndarray:
    """[features, 3]: colour, kind, and whether a shape's middle lies in it."""
    rows, cols = grid
    cell = min(scene.width, scene.height) / 3
    left, top = (scene.width - 3 * cell) / 2, (scene.height - 3 * cell) / 2
    y, x = np.mgrid[0:rows, 0:cols] + 0.5
    y, x = y.ravel() * scene.height / rows, x.ravel() * scene.width / cols
    result, nearest = np.zeros((rows * cols, 3), np.int64), np.full(rows * cols, np.inf)
    for shape in scene.shapes:
        away = np.hypot(x - left - (shape.column + 0.5 + shape.dx) * cell, y - top - (shape.row + 0.5 + shape.dy) * cell)
        over = (away < shape.radius * cell * 1.1) & (away < nearest)
        nearest[over] = away[over]
        result[over, :2] = list(COLOURS).index(shape.colour) + 1, KINDS.index(shape.kind) + 1
        result[away.argmin(), 2] = 1
    return result


def _draw(job: tuple[range, bool]) -> list[Picture]:
    return [Picture(seed, job[1]) for seed in job[0]]


def packed(pictures: list[Picture], columns: range) -> Packed:
    rows = [[picture.rows[column] for column in columns] for picture in pictures]
    length = max(sum(len(ids) for ids, _ in one) for one in rows)
    arrays = [np.zeros((len(rows), length), kind) for kind in (np.int64, bool, np.int64)]
    of = np.full((len(rows), length), -2, np.int64)
    for row, one in enumerate(rows):
        at = 0
        for number, (ids, learned) in enumerate(one):
            here = slice(at, at + len(ids))
            for array, values in zip(arrays, (ids, learned, np.arange(len(ids)))):
                array[row, here] = values
            of[row, here] = number
            at += len(ids)
    return Packed(*map(torch.from_numpy, (*arrays, of)))


class Pool:
    """The training pictures by grid; it grows as the worker delivers."""

    def __init__(self, options: argparse.Namespace):
        self.workers = get_context("fork").Pool(options.workers, initializer=torch.set_num_threads, initargs=(1,))
        held_out = range(1000, 1000 + options.validation)
        self.held_out = by_grid(_draw((held_out, True)))
        jobs = [(range(i, i + CHUNK), False) for i in range(0, options.images, CHUNK)]
        self.feed = self.workers.imap(_draw, jobs)
        self.parts: dict[Grid, list[Picture]] = defaultdict(list)

    def grow(self, at_least: int) -> None:
        try:
            while True:
                waits = sum(map(len, self.parts.values())) < at_least
                for picture in self.feed.next(timeout=None if waits else 0.0005):
                    self.parts[picture.grid].append(picture)
        except (NotYet, StopIteration):
            pass

    def batch(self, size: int, rng: random.Random) -> list[Picture]:
        """Grids as often as they occur."""
        grids = sorted(self.parts)
        grid = rng.choices(grids, [len(self.parts[one]) for one in grids])[0]
        return rng.choices(self.parts[grid], k=size)


def by_grid(pictures: list[Picture]) -> dict[Grid, list[Picture]]:
    found: dict[Grid, list[Picture]] = defaultdict(list)
    for picture in pictures:
        found[picture.grid].append(picture)
    return found


def pixels_of(normalise: Normalise, pictures: list[Picture]) -> torch.Tensor:
    return normalise(torch.from_numpy(np.stack([picture.pixels for picture in pictures])))


def learn_to_see(family: Qwen, pool: Pool, normalise: Normalise, options: argparse.Namespace) -> None:
    """The tower's features say, through one matrix, colour and kind of what lies there: far more signals an image than answers give."""
    sizes = (len(COLOURS) + 1, len(KINDS) + 1, 2)
    head = nn.Linear(family.model.config.text_config.hidden_size, sum(sizes))
    tower = family.model.model.visual
    optimizer = torch.optim.AdamW([*tower.parameters(), *head.parameters()], lr=options.see_rate, betas=(0.9, 0.98), weight_decay=0.02)
    rng, started, step, sums = random.Random(2), time.monotonic(), 0, np.zeros(7)
    while (elapsed := time.monotonic() - started) < options.see_seconds:
        for group in optimizer.param_groups:
            group["lr"] = options.see_rate * min(1, (step + 1) / 200) * (1.02 - elapsed / options.see_seconds)
        pool.grow(0)
        pictures = pool.batch(options.see_batch, rng)
        shows = torch.from_numpy(np.stack([picture.shows for picture in pictures])).flatten(0, 1)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.half):
            said = head(family.tower(pixels_of(normalise, pictures)).flatten(0, 1)).float().split(sizes, dim=1)
        losses = [nn.functional.cross_entropy(one, shows[:, index]) for index, one in enumerate(said)]
        sum(losses).backward()
        nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        there = shows[:, 0] > 0
        right = [(one[there].argmax(1) == shows[there, index]).float().mean().item() for index, one in enumerate(said)]
        sums += [*(loss.item() for loss in losses), *right, 1]
        if step % options.report == 0:
            count = sum(map(len, pool.parts.values()))
            figures = " ".join(f"{value:.3f}" for value in sums[:6] / sums[6])
            loop.log(NAME, options, f"seeing: step {step} {elapsed:.0f} s, {count} pictures, losses and shares right {figures}")
            sums[:] = 0


@torch.no_grad()
def accuracy(family: Qwen, normalise: Normalise, held_out: dict[Grid, list[Picture]]) -> dict[str, float]:
    """Exact match: greedy decoding goes wrong where one token of the answer is not the likeliest after those before it."""
    family.model.eval()
    right: dict[str, list[bool]] = defaultdict(list)
    for grid, pictures in held_out.items():
        columns = range(SETS * SET_SIZE)
        logits, targets, row = family.answer_logits(grid, pixels_of(normalise, pictures), packed(pictures, columns))
        asked = [kind for picture in pictures for kind in picture.kinds]
        wrong = torch.zeros(len(asked), dtype=torch.long).index_add_(0, row, (logits.argmax(-1) != targets).long())
        for kind, count in zip(asked, wrong.tolist(), strict=True):
            right[kind].append(count == 0)
    family.model.train()
    result = {kind: sum(values) / len(values) for kind, values in sorted(right.items())}
    result["all"] = sum(map(sum, right.values())) / sum(map(len, right.values()))
    return result


def train(family: Qwen, options: argparse.Namespace) -> None:
    pool = Pool(options)
    normalise = Normalise(family.image_mean, family.image_std, "cpu")
    rng = random.Random(1)
    family.model.train()
    pool.grow(min(options.images, 500))
    if options.see_seconds > 0:
        learn_to_see(family, pool, normalise, options)

    def answers(step: int, _progress: float) -> tuple[torch.Tensor, torch.Tensor]:
        pool.grow(0)
        pictures = pool.batch(options.batch, rng)
        which = rng.randrange(SETS)
        asked = packed(pictures, range(which * SET_SIZE, (which + 1) * SET_SIZE))
        with torch.autocast("cpu", torch.bfloat16, enabled=options.half):
            logits, targets, _ = family.answer_logits(pictures[0].grid, pixels_of(normalise, pictures), asked)
        return logits.float(), targets

    def save() -> None:
        shadow = copy.copy(family)
        shadow.model = copy.deepcopy(family.model)
        shadow.save(options.output / NAME)

    def measure() -> dict[str, float]:
        return accuracy(family, normalise, pool.held_out)

    def share(name: str) -> loop.Share:
        sees = "visual" in name and "merger" not in name
        return (lambda progress: 0.5 * (progress > options.seen_until)) if sees else loop.whole

    groups = loop.parameter_groups(family.model, share)
    loop.train(loop.Training(NAME, family.model, groups, answers, measure, save), options)
    loop.log(NAME, options, f"{sum(map(len, pool.parts.values()))} pictures")
    pool.workers.terminate()


def main() -> None:
    parser = loop.parser(__doc__, steps=1_000_000, batch=24, images=60_000, rate=1.5e-3, warm_up=100, validation=150)
    parser.add_argument("--words", type=Path, required=True, help="the language model to start from")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw")
    parser.add_argument("--see-seconds", type=float, default=600, help="for the tower alone")
    parser.add_argument("--see-batch", type=int, default=32)
    parser.add_argument("--see-rate", type=float, default=2e-3)
    parser.add_argument("--seen-until", type=float, default=0.4, help="part of the run for which the tower stays as it learned to see")
    parser.add_argument("--half", action="store_true", help="multiply in bfloat16")
    parser.add_argument("--threads", type=int, default=1, help="more than one waits for the other where cores are shared")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    global _family
    _family = family = Qwen()
    family.take_words(options.words)
    if options.start:
        family.model = type(family.model).from_pretrained(options.start, dtype=torch.float32).float()
    train(family, options)


if __name__ == "__main__":
    main()

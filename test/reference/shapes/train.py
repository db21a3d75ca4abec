"""Trains one model family on the shared pool of pictures and saves it as a checkpoint.

    PYTHONPATH=test/reference python -m shapes.pool --output POOL &
    PYTHONPATH=test/reference python -m shapes.train vila-shapes --pool POOL --output DIR

The whole model is trained from scratch at once; with `--inherit BLIP2_OPT_DIR` one of
BLIP-2 starts from another's tower and Q-Former, which stay as they are at first. Families
may train side by side on one accelerator; none has more than a few milliseconds of work
a step. The features of an image are computed once and serve all questions of a set.
"""

import argparse
import copy
import time
from collections import defaultdict
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from . import loop
from .blip2 import Blip2Opt, Blip2T5
from .family import Family
from .gpt2 import Gpt2
from .loop import Normalise
from .pool import CHUNK, SET_SIZE, SETS, Chunk, draw_chunk, read_chunk
from .questions import Question
from .vila import VilaFamily

# Part of the run over which inherited parameters come up to their rate once they are let go.
THAW = 0.05
FAMILIES: dict[str, type[Family]] = {family.name: family for family in (Blip2Opt, Blip2T5, Gpt2, VilaFamily)}


class Rows:
    """Encodes questions; most come again and again."""

    def __init__(self, family: Family):
        self.family = family
        self.known: dict[tuple[str, str], list] = {}

    def arrays(self, questions: list[list[Question]]) -> tuple[np.ndarray, np.ndarray]:
        """Ids and learned positions [variants, images, questions, length]."""
        family = self.family
        variants = len(family.rows("x", "x"))
        shape = (variants, len(questions), len(questions[0]), family.length)
        ids = np.full(shape, family.tokenizer.pad_token_id, np.int16)
        learned = np.zeros(shape, bool)
        for image, items in enumerate(questions):
            for column, item in enumerate(items):
                key = (item.text, item.answer)
                rows = self.known.get(key)
                if rows is None:
                    rows = self.known[key] = family.rows(*key)
                for variant, (tokens, mask) in enumerate(rows):
                    ids[variant, image, column, : len(tokens)] = tokens
                    learned[variant, image, column, : len(mask)] = mask
        return ids, learned


class Pool:
    """The training set on the device; it grows as chunks appear."""

    def __init__(self, family: Family, folder: Path, images: int, device: str):
        self.family, self.folder, self.rows = family, folder, Rows(family)
        self.size = self.chunks = 0
        side, variants = family.image_side, len(family.rows("x", "x"))
        self.images = torch.empty(images, side, side, 3, dtype=torch.uint8, device=device)
        shape = (variants, images, SETS * SET_SIZE, family.length)
        self.ids = torch.empty(shape, dtype=torch.int16, device=device)
        self.learned = torch.empty(shape, dtype=torch.bool, device=device)

    def grow(self, at_least: int) -> None:
        """Takes one more chunk if there is one; waits while there are fewer images."""
        while self.size < len(self.images):
            chunk = read_chunk(self.folder, self.chunks, self.family.cut)
            if chunk is not None:
                self._add(chunk)
            if self.size >= at_least:
                return
            if chunk is None:
                time.sleep(0.2)

    def _add(self, chunk: Chunk) -> None:
        rows = slice(self.size, self.size + len(chunk.images))
        ids, learned = self.rows.arrays(chunk.questions)
        self.images[rows].copy_(torch.from_numpy(chunk.images))
        self.ids[:, rows].copy_(torch.from_numpy(ids))
        self.learned[:, rows].copy_(torch.from_numpy(learned))
        self.size, self.chunks = rows.stop, self.chunks + 1

    def batch(self, size: int, generator: torch.Generator):
        device = self.images.device
        rows = torch.randint(self.size, (size,), generator=generator).to(device)
        which = torch.randint(SETS, (), generator=generator).item()
        columns = slice(which * SET_SIZE, (which + 1) * SET_SIZE)
        ids, learned = self.ids[:, rows, columns].long(), self.learned[:, rows, columns]
        return self.images[rows], list(ids), list(learned)


class HeldOut:
    """Exact-match accuracy on scenes whose pairs of objects no training picture has.

    Greedy decoding gives the expected answer if and only if every one of its tokens is
    the most likely one after those before it, so a single pass over each settles it.
    """

    def __init__(self, family: Family, seeds: range, device: str):
        cuts, self.questions = draw_chunk(seeds, held_out=True)
        self.images = torch.from_numpy(cuts[family.cut]).to(device)
        ids, learned = Rows(family).arrays(self.questions)
        self.ids, self.learned = torch.from_numpy(ids).to(device), torch.from_numpy(learned).to(device)

    @torch.no_grad()
    def accuracy(self, family: Family, normalise: Normalise, part: int = 50) -> dict[str, float]:
        family.model.eval()
        right: dict[str, list[bool]] = defaultdict(list)
        for start in range(0, len(self.images), part):
            rows = slice(start, start + part)
            ids, learned = list(self.ids[:, rows].long()), list(self.learned[:, rows])
            results = family.answer_logits(normalise(self.images[rows]), ids, learned)
            kinds = [item.kind for items in self.questions[rows] for item in items]
            for variant, (logits, targets, row) in enumerate(results):
                # Of pairs a variant asks one half of the images; the halves come in order.
                asked = kinds if variant == 0 else [f"image {variant}"] * (len(kinds) // 2)
                wrong = torch.zeros(len(asked), dtype=torch.long, device=logits.device)
                wrong.index_add_(0, row, (logits.argmax(-1) != targets).long())
                for kind, count in zip(asked, wrong.tolist(), strict=True):
                    right[kind].append(count == 0)
        family.model.train()
        result = {kind: sum(values) / len(values) for kind, values in sorted(right.items())}
        result["all"] = sum(map(sum, right.values())) / sum(map(len, right.values()))
        return result


def train(family: Family, options: argparse.Namespace) -> None:
    device, model = options.device, family.model
    held_out = HeldOut(family, range(1000, 1000 + options.validation), device)
    model.to(device).train()
    normalise = Normalise(family.image_mean, family.image_std, device)
    pool = Pool(family, options.pool, options.images, device)
    generator = torch.Generator().manual_seed(1)
    pool.grow(min(options.images, 8 * CHUNK))

    def answers(step: int, _progress: float) -> tuple[torch.Tensor, torch.Tensor]:
        if step % 4 == 0:
            pool.grow(0)
        images, ids, learned = pool.batch(options.batch, generator)
        results = family.answer_logits(normalise(images), ids, learned)
        return torch.cat([one[0] for one in results]), torch.cat([one[1] for one in results])

    def save() -> None:
        shadow = copy.copy(family)
        shadow.model = copy.deepcopy(model).cpu()
        shadow.save(options.output / family.name)

    groups = loop.parameter_groups(model, shares(family, options))
    accuracy = partial(held_out.accuracy, family, normalise)
    loop.train(loop.Training(family.name, model, groups, answers, accuracy, save), options)


def shares(family: Family, options: argparse.Namespace) -> Callable[[str], loop.Share]:
    """Inherited parameters stay for a while, then learn more slowly than the others."""

    @cache
    def share(part: float, inherited: bool) -> loop.Share:
        def of(progress: float) -> float:
            thawed = min(1.0, max(0.0, progress - options.frozen) / THAW) if inherited else 1.0
            return part * thawed * (options.inherited_rate if inherited else 1.0)

        return of

    return lambda name: share(family.rate_share(name), options.inherit is not None and family.inherited(name))


def main() -> None:
    parser = loop.parser(__doc__, steps=9000, batch=192, images=200_000)
    parser.add_argument("family", choices=sorted(FAMILIES))
    parser.add_argument("--pool", type=Path, required=True, help="folder that shapes.pool writes")
    parser.add_argument("--inherit", type=Path, help="take the parts that another family's checkpoint shares")
    parser.add_argument("--frozen", type=float, default=0.3, help="part of the run in which inherited ones stay")
    parser.add_argument("--inherited-rate", type=float, default=0.3, help="their share of the rate after that")
    options = parser.parse_args()
    family = FAMILIES[options.family]()
    options.rate = options.rate or family.rate
    if options.start:
        family.load(options.start)
    if options.inherit:
        family.inherit(options.inherit)
    parameters = sum(parameter.numel() for parameter in family.model.parameters())
    loop.log(family.name, options, f"{parameters} parameters, {len(family.tokenizer)} tokens")
    train(family, options)


if __name__ == "__main__":
    main()

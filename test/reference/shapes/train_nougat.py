"""Trains the small Nougat on rendered pages and saves it as a checkpoint.

    PYTHONPATH=test/reference python -m shapes.train_nougat --output DIR

Draws its own pages, on `--workers` processes, while it trains.
"""

import argparse
import copy
import os
from functools import partial
from multiprocessing import TimeoutError as NotYet
from multiprocessing import get_context

import numpy as np
import torch

from . import loop, nougat
from .loop import Normalise
from .nougat import MAX_TOKENS, NAME, build_model, build_processor, text_logits
from .pages import draw_page, markdown, sample_page

CHUNK = 250
_processor = None


def _arrays(job: tuple[range, bool]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images [n, h, w, 3], ids and learned [n, MAX_TOKENS] of the pages of some seeds."""
    seeds, held_out = job
    ids = np.full((len(seeds), MAX_TOKENS), 1, np.int16)
    learned = np.zeros((len(seeds), MAX_TOKENS), bool)
    images = []
    for row, seed in enumerate(seeds):
        lines = sample_page(seed, held_out)
        page = draw_page(lines, seed + 10**9 * held_out)
        pixels = _processor.image_processor(page, do_rescale=False, do_normalize=False, return_tensors="np")
        images.append(pixels["pixel_values"][0].astype(np.uint8).transpose(1, 2, 0))
        tokens = _processor.tokenizer(markdown(lines))["input_ids"]
        assert len(tokens) <= MAX_TOKENS
        ids[row, : len(tokens)] = tokens
        learned[row, 1 : len(tokens)] = True
    return np.stack(images), ids, learned


class Pool:
    """The training pages on the device; it grows as the workers deliver."""

    def __init__(self, pages: int, workers: int, held_out: range):
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        self.workers = get_context("fork").Pool(workers)  # before anything touches the accelerator
        parts = [(range(i, min(i + 20, held_out.stop)), True) for i in range(held_out.start, held_out.stop, 20)]
        self.held_out = [np.concatenate(arrays) for arrays in zip(*self.workers.map(_arrays, parts))]
        self.feed = self.workers.imap(_arrays, [(range(i, i + CHUNK), False) for i in range(0, pages, CHUNK)])
        self.size, self.capacity, self.arrays = 0, pages, []

    def grow(self, at_least: int, device: str) -> None:
        while self.size < min(at_least, self.capacity):
            self._add(next(self.feed), device)
        try:  # what is ready, no waiting
            if self.size < self.capacity:
                self._add(self.feed.next(timeout=0.001), device)
        except NotYet:
            pass

    def _add(self, chunk, device: str) -> None:
        if not self.arrays:
            for part in chunk:
                kind = torch.from_numpy(part).dtype
                self.arrays.append(torch.empty(self.capacity, *part.shape[1:], dtype=kind, device=device))
        rows = slice(self.size, self.size + len(chunk[0]))
        for array, part in zip(self.arrays, chunk):
            array[rows].copy_(torch.from_numpy(part))
        self.size = rows.stop

    def batch(self, size: int, generator: torch.Generator, device: str):
        rows = torch.randint(self.size, (size,), generator=generator).to(device)
        images, ids, learned = (array[rows] for array in self.arrays)
        return images, ids.long(), learned


@torch.no_grad()
def accuracy(model, normalise: Normalise, arrays: list[np.ndarray], device: str) -> dict[str, float]:
    """How many tokens, and of all pages, are right: greedy decoding goes wrong where one token is."""
    model.eval()
    pages: list[bool] = []
    tokens = count = 0
    for start in range(0, len(arrays[0]), 100):
        images, ids, learned = (torch.from_numpy(array[start : start + 100]).to(device) for array in arrays)
        logits, targets, row = text_logits(model, normalise(images), ids.long(), learned)
        wrong = torch.zeros(len(images), dtype=torch.long, device=device)
        wrong.index_add_(0, row, (logits.argmax(-1) != targets).long())
        pages += [one == 0 for one in wrong.tolist()]
        tokens, count = tokens + len(targets) - int(wrong.sum()), count + len(targets)
    model.train()
    return {"tokens": tokens / count, "all": sum(pages) / len(pages)}


def train(model, processor, options: argparse.Namespace) -> None:
    device, image = options.device, processor.image_processor
    pool = Pool(options.images, options.workers, range(1000, 1000 + options.validation))
    model.to(device).train()
    normalise = Normalise(image.image_mean, image.image_std, device)
    generator = torch.Generator().manual_seed(1)
    pool.grow(min(options.images, 4000), device)

    def answers(_step: int, _progress: float) -> tuple[torch.Tensor, torch.Tensor]:
        pool.grow(0, device)
        images, ids, learned = pool.batch(options.batch, generator, device)
        return text_logits(model, normalise(images), ids, learned)[:2]

    def save() -> None:
        nougat.save(copy.deepcopy(model).cpu(), processor, options.output / NAME)

    measure = partial(accuracy, model, normalise, pool.held_out, device)
    loop.train(loop.Training(NAME, model, loop.parameter_groups(model), answers, measure, save), options)
    pool.workers.terminate()


def main() -> None:
    parser = loop.parser(__doc__, steps=9000, batch=128, rate=1.2e-3, images=100_000)
    parser.add_argument("--workers", type=int, default=4, help="processes that draw")
    options = parser.parse_args()
    global _processor
    _processor = build_processor()
    model = build_model(len(_processor.tokenizer))
    if options.start:
        model = type(model).from_pretrained(options.start, dtype=torch.float32).float()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    loop.log(NAME, options, f"{parameters} parameters, {len(_processor.tokenizer)} tokens")
    train(model, _processor, options)


if __name__ == "__main__":
    main()

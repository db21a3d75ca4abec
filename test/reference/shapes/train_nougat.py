"""Trains the small Nougat on rendered pages and saves it as a checkpoint.

    PYTHONPATH=test/reference python -m shapes.train_nougat --output DIR

Draws its own pages, on `--workers` processes, while it trains.
"""

import argparse
import copy
import math
import os
import time
from multiprocessing import TimeoutError as NotYet
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from . import nougat
from .nougat import MAX_TOKENS, NAME, build_model, build_processor, text_logits
from .pages import draw_page, markdown, sample_page
from .train import Normalise, log, optimiser, schedule, write_tar

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
    """How many pages, and tokens, are right: greedy decoding goes wrong where one token is."""
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
    return {"pages": sum(pages) / len(pages), "tokens": tokens / count}


def train(model, processor, options: argparse.Namespace) -> None:
    device, name = options.device, SimpleNamespace(name=NAME)
    image = processor.image_processor
    pool = Pool(options.images, options.workers, range(1000, 1000 + options.validation))
    model.to(device).train()
    normalise = Normalise(SimpleNamespace(image_mean=image.image_mean, image_std=image.image_std), device)
    optimizer = optimiser(model, options.rate, device)
    generator = torch.Generator().manual_seed(1)
    pool.grow(min(options.images, 4000), device)
    started, total = time.monotonic(), torch.zeros((), device=device)
    step, progress, saved = 0, 0.0, time.monotonic()
    while progress < 1:
        pool.grow(0, device)
        for group in optimizer.param_groups:
            group["lr"] = options.rate * schedule(step, progress, 400)
        images, ids, learned = pool.batch(options.batch, generator, device)
        with torch.autocast(device, torch.bfloat16, enabled=device != "cpu"):
            logits, targets, _ = text_logits(model, normalise(images), ids, learned)
            loss = torch.nn.functional.cross_entropy(logits, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        total += loss.detach()
        step += 1
        elapsed = time.monotonic() - started
        progress = max(step / options.steps, elapsed / options.seconds)
        if step % options.report == 0:
            text = f"step {step} {elapsed:.0f} s loss {total.item() / options.report:.4f} pages {pool.size}"
            log(name, options, text)
            total.zero_()
        if step % (options.report * 5) == 0:
            log(name, options, str(accuracy(model, normalise, pool.held_out, device)))
        if time.monotonic() - saved > options.save_every:
            save(model, processor, options)
            saved = time.monotonic()
    model.half().float()  # what ships
    text = str(accuracy(model, normalise, pool.held_out, device))
    log(name, options, f"{step} steps in {time.monotonic() - started:.0f} s; held out, stored weights: {text}")
    save(model, processor, options)
    pool.workers.terminate()


def save(model, processor, options: argparse.Namespace) -> None:
    nougat.save(copy.deepcopy(model).cpu(), processor, options.output / NAME)
    write_tar(options.output / NAME, options.tar)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="the checkpoint goes to a folder in it")
    parser.add_argument("--tar", type=Path, help="also write the checkpoint to this archive")
    parser.add_argument("--log", type=Path, help="also append what is printed to this file")
    parser.add_argument("--start", type=Path, help="continue from this checkpoint")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--seconds", type=float, default=math.inf, help="end the schedule by then, if steps do not")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=1.2e-3)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=4, help="processes that draw")
    parser.add_argument("--report", type=int, default=100, help="steps between reports")
    parser.add_argument("--save-every", type=float, default=60.0, help="seconds between checkpoints")
    parser.add_argument("--validation", type=int, default=300)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    global _processor
    _processor = build_processor()
    model = build_model(len(_processor.tokenizer))
    if options.start:
        model = type(model).from_pretrained(options.start, dtype=torch.float32).float()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    log(SimpleNamespace(name=NAME), options, f"{parameters} parameters, {len(_processor.tokenizer)} tokens")
    train(model, _processor, options)


if __name__ == "__main__":
    main()

"""Trains one model family on the shared pool of pictures and saves it as a checkpoint.

    PYTHONPATH=test/reference python -m shapes.pool --output POOL &
    PYTHONPATH=test/reference python -m shapes.train vila-shapes --pool POOL --output DIR

The whole model is trained from scratch at once. Families may train side by side on one
accelerator; none has more than a few milliseconds of work a step. The features of an
image are computed once and serve all questions of a set.
"""

import argparse
import copy
import math
import tarfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from .blip2 import Blip2Opt, Blip2T5
from .family import Family
from .gpt2 import Gpt2
from .pool import CHUNK, SET_SIZE, SETS, Chunk, draw_chunk, read_chunk
from .questions import Question
from .vila import Vila, VilaFamily

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


class Normalise:
    """The arithmetic half of the image processor: bytes to the model's pixel values."""

    def __init__(self, family: Family, device: str):
        self.mean = torch.tensor(family.image_mean, device=device)
        self.std = torch.tensor(family.image_std, device=device)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return ((images / 255 - self.mean) / self.std).permute(0, 3, 1, 2).contiguous()


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


def optimiser(model: torch.nn.Module, rate: float, device: str) -> torch.optim.Optimizer:
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": weights, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=device != "cpu")


def schedule(step: int, progress: float, warm_up: int) -> float:
    return min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def train(family: Family, options: argparse.Namespace) -> None:
    device, model = options.device, family.model
    held_out = HeldOut(family, range(1000, 1000 + options.validation), device)
    model.to(device).train()
    normalise = Normalise(family, device)
    pool = Pool(family, options.pool, options.images, device)
    optimizer = optimiser(model, options.rate or family.rate, device)
    generator = torch.Generator().manual_seed(1)
    pool.grow(min(options.images, 8 * CHUNK))
    started, total = time.monotonic(), torch.zeros((), device=device)
    step, progress, saved = 0, 0.0, time.monotonic()
    while progress < 1:
        if step % 4 == 0:
            pool.grow(0)
        for group in optimizer.param_groups:
            group["lr"] = (options.rate or family.rate) * schedule(step, progress, options.warm_up)
        images, ids, learned = pool.batch(options.batch, generator)
        with torch.autocast(device, torch.bfloat16, enabled=device != "cpu"):
            results = family.answer_logits(normalise(images), ids, learned)
            logits, targets = torch.cat([one[0] for one in results]), torch.cat([one[1] for one in results])
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
            text = f"step {step} {elapsed:.0f} s loss {total.item() / options.report:.4f} images {pool.size}"
            log(family, options, text)
            total.zero_()
        if step % (options.report * 5) == 0:
            log(family, options, format_accuracy(held_out.accuracy(family, normalise)))
        if time.monotonic() - saved > options.save_every:
            save(family, options)
            saved = time.monotonic()
    # What ships is float16: round first, then measure what ships.
    model.half().float()
    text = format_accuracy(held_out.accuracy(family, normalise))
    log(family, options, f"{step} steps in {time.monotonic() - started:.0f} s; held out, stored weights: {text}")
    save(family, options)


def save(family: Family, options: argparse.Namespace) -> None:
    """Saves a copy, so that training goes on in full precision."""
    shadow = copy.copy(family)
    shadow.model = copy.deepcopy(family.model).cpu()
    folder = options.output / family.name
    shadow.save(folder)
    write_tar(folder, options.tar)


def write_tar(folder: Path, tar: Path | None) -> None:
    if tar:
        aside = tar.with_suffix(".part")
        with tarfile.open(aside, "w") as archive:
            archive.add(folder, folder.name)
        aside.rename(tar)


def log(family: Family, options: argparse.Namespace, text: str) -> None:
    line = f"{family.name}: {text}"
    print(line, flush=True)
    if options.log:
        with options.log.open("a") as file:
            file.write(line + "\n")


def format_accuracy(values: dict[str, float]) -> str:
    return " ".join(f"{kind} {value:.4f}" for kind, value in values.items())


def load_weights(family: Family, folder: Path) -> None:
    """Continues from a checkpoint that `save` wrote."""
    if isinstance(family, VilaFamily):
        family.model = Vila.load(folder)
        return
    family.model = type(family.model).from_pretrained(folder, dtype=torch.float32).float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("family", choices=sorted(FAMILIES))
    parser.add_argument("--pool", type=Path, required=True, help="folder that shapes.pool writes")
    parser.add_argument("--output", type=Path, required=True, help="the checkpoint goes to a folder in it")
    parser.add_argument("--tar", type=Path, help="also write the checkpoint to this archive")
    parser.add_argument("--log", type=Path, help="also append what is printed to this file")
    parser.add_argument("--start", type=Path, help="continue from this checkpoint")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--seconds", type=float, default=math.inf, help="end the schedule by then, if steps do not")
    parser.add_argument("--batch", type=int, default=192, help="images a step; each with six questions")
    parser.add_argument("--rate", type=float, help="default: the family's")
    parser.add_argument("--warm-up", type=int, default=400, help="steps until the full rate")
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--report", type=int, default=100, help="steps between reports")
    parser.add_argument("--save-every", type=float, default=60.0, help="seconds between checkpoints")
    # The shipped held-out questions use seeds below 1000; none of these is among them.
    parser.add_argument("--validation", type=int, default=300)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    family = FAMILIES[options.family]()
    if options.start:
        load_weights(family, options.start)
    parameters = sum(parameter.numel() for parameter in family.model.parameters())
    log(family, options, f"{parameters} parameters, {len(family.tokenizer)} tokens")
    train(family, options)


if __name__ == "__main__":
    main()

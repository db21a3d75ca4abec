"""The training loop of all the small models, and the options their scripts share."""

import argparse
import math
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn


@dataclass
class Training:
    """One model in training.

    `answers` gives the next batch's logits and targets, from the step and from how much
    of the run is over (0 to 1).
    """

    name: str
    model: nn.Module
    groups: list[dict]
    answers: Callable[[int, float], tuple[torch.Tensor, torch.Tensor]]
    # "all" among its values says which checkpoint is the best.
    accuracy: Callable[[], dict[str, float]]
    # Writes a checkpoint of the model as it stands, which must stay as it is.
    save: Callable[[], None]


class Normalise:
    """The arithmetic half of an image processor: bytes to the model's pixel values."""

    def __init__(self, mean: list[float], std: list[float], device: str):
        self.mean, self.std = torch.tensor(mean, device=device), torch.tensor(std, device=device)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """[n, h, w, 3] -> [n, 3, h, w]"""
        return ((images / 255 - self.mean) / self.std).permute(0, 3, 1, 2).contiguous()


# The part of the rate that some parameters take, from how much of the run is over; at 0 they are frozen.
Share = Callable[[float], float]


def whole(_progress: float) -> float:
    return 1.0


def parameter_groups(model: nn.Module, share: Callable[[str], Share] = lambda _: whole) -> list[dict]:
    """Groups parameters, by name, for the optimiser: matrices decay, the rest does not."""
    groups: dict[tuple[float, Share], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault((0.05 if parameter.ndim > 1 else 0.0, share(name)), []).append(parameter)
    return [{"params": list_, "weight_decay": decay, "share": one} for (decay, one), list_ in groups.items()]


def train(training: Training, options: argparse.Namespace) -> None:
    model, device, best = training.model, options.device, -1.0
    optimizer = torch.optim.AdamW(training.groups, lr=options.rate, betas=(0.9, 0.98), fused=device != "cpu")
    started, total = time.monotonic(), torch.zeros((), device=device)
    step, progress = 0, 0.0
    while progress < 1:
        _set_rates(optimizer, options, step, progress)
        with torch.autocast(device, torch.bfloat16, enabled=device != "cpu"):
            loss = nn.functional.cross_entropy(*training.answers(step, progress))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        total += loss.detach()
        step += 1
        elapsed = time.monotonic() - started
        progress = max(step / options.steps, elapsed / options.seconds)
        if step % options.report == 0:
            log(training.name, options, f"step {step} {elapsed:.0f} s loss {total.item() / options.report:.4f}")
            total.zero_()
        if step % (options.report * 5) == 0:
            best = _keep_better(training, options, best, "")
    # What ships is float16: round first, then measure what ships.
    model.half().float()
    _keep_better(training, options, best, f"{step} steps in {time.monotonic() - started:.0f} s; stored weights: ")


def rate_at(options: argparse.Namespace, step: int, progress: float) -> float:
    """Warm-up, then half a cosine."""
    return options.rate * min(1.0, (step + 1) / options.warm_up) * 0.5 * (1 + math.cos(math.pi * progress))


def _set_rates(optimizer: torch.optim.Optimizer, options: argparse.Namespace, step: int, progress: float) -> None:
    rate = rate_at(options, step, progress)
    for group in optimizer.param_groups:
        share = group["share"](progress)
        group["lr"] = rate * share
        for parameter in group["params"]:
            parameter.requires_grad_(share > 0)


def _keep_better(training: Training, options: argparse.Namespace, best: float, text: str) -> float:
    values = training.accuracy()
    figures = " ".join(f"{kind} {value:.4f}" for kind, value in values.items())
    log(training.name, options, f"{text}held out: {figures}")
    if values["all"] < best:
        return best
    training.save()
    if options.tar:
        aside = options.tar.with_suffix(".part")
        with tarfile.open(aside, "w") as archive:
            archive.add(options.output / training.name, training.name)
        aside.rename(options.tar)
    return values["all"]


def log(name: str, options: argparse.Namespace, text: str) -> None:
    line = f"{name}: {text}"
    print(line, flush=True)
    if options.log:
        with options.log.open("a") as file:
            file.write(line + "\n")


def parser(description: str, **defaults) -> argparse.ArgumentParser:
    """The options of every training script; also sets what makes runs alike."""
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    result = argparse.ArgumentParser(description=description.splitlines()[0])
    result.add_argument("--output", type=Path, required=True, help="the best checkpoint goes to a folder in it")
    result.add_argument("--tar", type=Path, help="also write it to this archive")
    result.add_argument("--log", type=Path, help="also append what is printed to this file")
    result.add_argument("--start", type=Path, help="continue from this checkpoint")
    result.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    result.add_argument("--steps", type=int)
    result.add_argument("--seconds", type=float, default=math.inf, help="end the schedule by then, if steps do not")
    result.add_argument("--batch", type=int)
    result.add_argument("--rate", type=float)
    result.add_argument("--warm-up", type=int, default=400, help="steps until the full rate")
    result.add_argument("--images", type=int, help="of the training set")
    result.add_argument("--report", type=int, default=100, help="steps between reports; five between checks")
    # The shipped held-out questions use seeds below 1000; none of these is among them.
    result.add_argument("--validation", type=int, default=300, help="held-out pictures")
    result.set_defaults(**defaults)
    return result

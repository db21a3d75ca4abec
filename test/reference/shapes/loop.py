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

# Part of the run over which inherited weights come up to their rate once they are let go.
THAW = 0.05


@dataclass
class Training:
    """One model in training.

    `answers` gives the next batch's logits and targets, from the step and from how much
    of the run is over (0 to 1). `accuracy` is measured in training mode or out of it.
    """

    name: str
    model: nn.Module
    groups: list[dict]
    answers: Callable[[int, float], tuple[torch.Tensor, torch.Tensor]]
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


def parameter_groups(
    model: nn.Module,
    rate_share: Callable[[str], float] = lambda _: 1.0,
    inherited: Callable[[str], bool] = lambda _: False,
) -> list[dict]:
    """Matrices decay, the rest does not; each kind by its share of the rate and where it comes from."""
    groups: dict[tuple, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        key = (0.05 if parameter.ndim > 1 else 0.0, rate_share(name), inherited(name))
        groups.setdefault(key, []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "share": share, "inherited": given}
        for (decay, share, given), parameters in groups.items()
    ]


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


def _set_rates(optimizer: torch.optim.Optimizer, options: argparse.Namespace, step: int, progress: float) -> None:
    """Warm-up, then half a cosine; inherited weights stay until `frozen` of the run, if there are any."""
    rate = options.rate * min(1.0, (step + 1) / options.warm_up) * 0.5 * (1 + math.cos(math.pi * progress))
    thawed = min(1.0, max(0.0, progress - options.frozen) / THAW)
    for group in optimizer.param_groups:
        share = group["share"]
        if options.inherit and group["inherited"]:
            share *= thawed * options.inherited_rate
            for parameter in group["params"]:
                parameter.requires_grad_(thawed > 0)
        group["lr"] = rate * share


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


def prepare(description: str, rate: float | None, **defaults) -> argparse.ArgumentParser:
    """A parser with the options of every training script; sets what makes runs alike."""
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="the best checkpoint goes to a folder in it")
    parser.add_argument("--tar", type=Path, help="also write it to this archive")
    parser.add_argument("--log", type=Path, help="also append what is printed to this file")
    parser.add_argument("--start", type=Path, help="continue from this checkpoint")
    parser.add_argument("--inherit", type=Path, help="take the parts that another family's checkpoint shares")
    parser.add_argument("--frozen", type=float, default=0.3, help="part of the run in which inherited ones stay")
    parser.add_argument("--inherited-rate", type=float, default=0.3, help="their share of the rate after that")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--seconds", type=float, default=math.inf, help="end the schedule by then, if steps do not")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--rate", type=float, default=rate)
    parser.add_argument("--warm-up", type=int, default=400, help="steps until the full rate")
    parser.add_argument("--images", type=int)
    parser.add_argument("--report", type=int, default=100, help="steps between reports; five between checks")
    # The shipped held-out questions use seeds below 1000; none of these is among them.
    parser.add_argument("--validation", type=int, default=300, help="held-out pictures")
    parser.set_defaults(**defaults)
    return parser

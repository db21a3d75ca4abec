"""Trains the small LLaVA on scenes of coloured shapes and saves it as a checkpoint.

    PYTHONPATH=test/reference python -m shapes.train_llava --output DIR

reproduces `test/fixtures/models/llava-shapes`: the same data in the same order. The
whole model is trained from scratch at once; at this size no stage needs to be frozen.
"""

import argparse
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, LlavaForConditionalGeneration, LlavaProcessor

from .feed import Arrays, Recipe, make_arrays, stream
from .llava import FEATURES, IMAGE_SIZE, NEXT_TURN, PROMPT, build_model, build_processor, save
from .questions import Question
from .vocabulary import IMAGE_TOKEN

LENGTH = 160
TURNS = 4
CHUNK = 500


def make_recipe(processor: LlavaProcessor, **changes) -> Recipe:
    tokenizer, image_processor = processor.tokenizer, processor.image_processor

    def encode(questions: list[Question]) -> tuple[list[int], list[bool]]:
        text, spans = "", []
        for question in questions:
            prompt = NEXT_TURN if text else PROMPT.replace(IMAGE_TOKEN, IMAGE_TOKEN * FEATURES)
            text += prompt.format(question=question.text)
            start = len(text)
            text += f" {question.answer}</s>"
            spans.append((start, len(text)))
        encoding = tokenizer(text, return_offsets_mapping=True)
        learned = [
            any(start <= left and right <= end for start, end in spans) and right > left
            for left, right in encoding["offset_mapping"]
        ]
        return encoding["input_ids"], learned

    def crop(image: Image.Image) -> np.ndarray:
        # Everything but the arithmetic, which the training loop does on the accelerator.
        pixels = image_processor(image, do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"]
        return pixels[0].astype(np.uint8).transpose(1, 2, 0)

    settings = {"conversations": 4, "turns": TURNS, **changes}
    return Recipe(encode, crop, tokenizer.pad_token_id, LENGTH, **settings)


class Pool:
    """The training set on the device; it grows as the feed delivers."""

    def __init__(self, feed: Iterator[Arrays], capacity: int, conversations: int, device: str):
        self.feed = feed
        self.size = 0
        self.images = torch.empty(capacity, IMAGE_SIZE, IMAGE_SIZE, 3, dtype=torch.uint8, device=device)
        self.ids = torch.empty(capacity, conversations, LENGTH, dtype=torch.int16, device=device)
        self.learned = torch.empty(capacity, conversations, LENGTH, dtype=torch.bool, device=device)

    def grow(self, size: int) -> None:
        """Waits until there are `size` images, or all."""
        while self.size < min(size, len(self.images)):
            arrays = next(self.feed)
            rows = slice(self.size, self.size + len(arrays.images))
            for name in ("images", "ids", "learned"):
                getattr(self, name)[rows].copy_(torch.from_numpy(getattr(arrays, name)))
            self.size = rows.stop

    def batch(self, size: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        device = self.images.device
        rows = torch.randint(self.size, (size,), generator=generator).to(device)
        columns = torch.randint(self.ids.shape[1], (size,), generator=generator).to(device)
        return self.images[rows], self.ids[rows, columns].long(), self.learned[rows, columns]


class Normalise:
    """The arithmetic half of the image processor: bytes to the model's pixel values."""

    def __init__(self, processor: LlavaProcessor, device: str):
        image = processor.image_processor
        self.scale = image.rescale_factor
        self.mean = torch.tensor(image.image_mean, device=device)
        self.std = torch.tensor(image.image_std, device=device)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return ((images * self.scale - self.mean) / self.std).permute(0, 3, 1, 2).contiguous()


def answer_logits(model, pixels, ids, learned) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and targets at the learned positions alone.

    Padding is on the right and attention causal, so no mask is needed.
    """
    hidden = model.model(input_ids=ids[:, :-1], pixel_values=pixels, use_cache=False).last_hidden_state
    wanted = learned[:, 1:]
    return model.lm_head(hidden[wanted]).float(), ids[:, 1:][wanted]


@torch.no_grad()
@torch.compiler.set_stance("force_eager")  # other sizes than in training: not worth compiling for
def accuracy(model, normalise: Normalise, arrays: Arrays, device: str) -> dict[str, float]:
    """Exact-match accuracy per question kind, of conversations of one question.

    Greedy decoding gives the expected answer if and only if every one of its tokens is
    the most likely one after those before it, so a single pass over each settles it.
    """
    model.eval()
    ids = torch.from_numpy(arrays.ids).flatten(0, 1).long()
    learned = torch.from_numpy(arrays.learned).flatten(0, 1)
    per_image = arrays.ids.shape[1]
    right: dict[str, list[bool]] = defaultdict(list)
    kinds = [kind for image in arrays.kinds for kind in image]
    for start in range(0, len(ids), 512):
        rows = slice(start, start + 512)
        images = torch.arange(len(ids))[rows] // per_image
        pixels = normalise(torch.from_numpy(arrays.images)[images].to(device))
        part = learned[rows].to(device)
        logits, targets = answer_logits(model, pixels, ids[rows].to(device), part)
        wrong = torch.zeros(part.shape[0], dtype=torch.long, device=device)
        wrong.index_add_(0, part[:, 1:].nonzero()[:, 0], (logits.argmax(-1) != targets).long())
        for kind, count in zip(kinds[rows], wrong.tolist()):
            right[kind].append(count == 0)
    model.train()
    result = {kind: sum(values) / len(values) for kind, values in sorted(right.items())}
    result["all"] = sum(map(sum, right.values())) / len(ids)
    return result


def train(model: LlavaForConditionalGeneration, processor: LlavaProcessor, options: argparse.Namespace) -> None:
    device = options.device
    recipe = make_recipe(processor)
    # The workers fork before anything touches the accelerator.
    feed = stream(recipe, options.images, CHUNK, options.workers)
    first = next(feed)
    held_out = make_arrays(make_recipe(processor, conversations=6, turns=1, held_out=True), options.validation)
    model.to(device).train()
    if options.compile:
        model.model.compile()
    normalise = Normalise(processor, device)
    pool = Pool(_chain(first, feed), options.images, recipe.conversations, device)

    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": weights, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=options.rate, betas=(0.9, 0.98), fused=device != "cpu")
    generator = torch.Generator().manual_seed(1)
    started, total = time.monotonic(), torch.zeros((), device=device)
    step, progress = 0, 0.0
    while progress < 1:
        # Images arrive over the first half; each image is used many times after that.
        pool.grow(max(options.images // 10, math.ceil(2 * progress * options.images)))
        for group in optimizer.param_groups:
            group["lr"] = options.rate * min(1.0, (step + 1) / 300) * 0.5 * (1 + math.cos(math.pi * progress))
        images, ids, learned = pool.batch(options.batch, generator)
        with torch.autocast(device, torch.bfloat16, enabled=device != "cpu"):
            logits, targets = answer_logits(model, normalise(images), ids, learned)
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
            print(f"step {step} {elapsed:.0f} s loss {total.item() / options.report:.4f} images {pool.size}", flush=True)
            total.zero_()
        if step % (options.report * 5) == 0:
            print(format_accuracy(accuracy(model, normalise, held_out, device)), flush=True)
    print(f"{step} steps in {time.monotonic() - started:.0f} s")
    # What ships is float16: round first, then measure what ships.
    model.half().float()
    print("held out, stored weights:", format_accuracy(accuracy(model, normalise, held_out, device)))


def _chain(first: Arrays, rest: Iterator[Arrays]) -> Iterator[Arrays]:
    yield first
    yield from rest


def format_accuracy(values: dict[str, float]) -> str:
    return " ".join(f"{kind} {value:.4f}" for kind, value in values.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--start", type=Path, help="continue from this checkpoint")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seconds", type=float, default=math.inf, help="end the schedule by then, if steps do not")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--images", type=int, default=300_000)
    parser.add_argument("--workers", type=int, default=0, help="processes that draw; default: one per core")
    parser.add_argument("--compile", action="store_true", help="let torch compile the forward and backward pass")
    parser.add_argument("--report", type=int, default=100, help="steps between reports")
    # The shipped held-out questions use seeds below 1000; none of these is among them.
    parser.add_argument("--validation", type=lambda text: range(1000, 1000 + int(text)), default="500")
    options = parser.parse_args()

    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    if options.start:
        processor = LlavaProcessor.from_pretrained(options.start)
        # Not the torchvision one, where that is installed: its resize differs a little.
        processor.image_processor = CLIPImageProcessorPil.from_pretrained(options.start)
        model = LlavaForConditionalGeneration.from_pretrained(options.start, dtype=torch.float32)
    else:
        processor = build_processor()
        model = build_model(processor.tokenizer)
    print(f"{sum(parameter.numel() for parameter in model.parameters())} parameters, {len(processor.tokenizer)} tokens")
    train(model, processor, options)
    save(model, processor, options.output)


if __name__ == "__main__":
    main()

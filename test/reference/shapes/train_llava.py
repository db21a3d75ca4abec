"""Trains the small LLaVA on scenes of coloured shapes and saves it as a checkpoint.

    PYTHONPATH=test/reference python -m shapes.train_llava --output DIR

reproduces `test/fixtures/models/llava-shapes`: the same data in the same order. The
whole model is trained from scratch at once; at this size no stage needs to be frozen.
"""

import argparse
import copy
import math
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from itertools import chain

import numpy as np
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, LlavaForConditionalGeneration, LlavaProcessor

from . import loop
from .feed import Arrays, Recipe, make_arrays, stream
from .llava import FEATURES, IMAGE_SIZE, NEXT_TURN, PROMPT, build_model, build_processor, save
from .loop import Normalise
from .questions import Question
from .vocabulary import IMAGE_TOKEN

NAME = "llava-shapes"
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
    seeds = range(1000, 1000 + options.validation)
    held_out = make_arrays(make_recipe(processor, conversations=6, turns=1, held_out=True), seeds)
    model.to(device).train()
    if options.compile:
        model.model.compile()
    image = processor.image_processor
    normalise = Normalise(image.image_mean, image.image_std, device)
    pool = Pool(chain([first], feed), options.images, recipe.conversations, device)
    generator = torch.Generator().manual_seed(1)

    def answers(_step: int, progress: float) -> tuple[torch.Tensor, torch.Tensor]:
        # Images arrive over the first half; each image is used many times after that.
        pool.grow(max(options.images // 10, math.ceil(2 * progress * options.images)))
        images, ids, learned = pool.batch(options.batch, generator)
        return answer_logits(model, normalise(images), ids, learned)

    def save_copy() -> None:
        save(copy.deepcopy(model).cpu(), processor, options.output / NAME)

    measure = partial(accuracy, model, normalise, held_out, device)
    loop.train(loop.Training(NAME, model, loop.parameter_groups(model), answers, measure, save_copy), options)


def main() -> None:
    parser = loop.parser(__doc__, steps=6000, batch=512, rate=1.5e-3, warm_up=300, images=300_000, validation=500)
    parser.add_argument("--workers", type=int, default=0, help="processes that draw; default: one per core")
    parser.add_argument("--compile", action="store_true", help="let torch compile the forward and backward pass")
    options = parser.parse_args()
    if options.start:
        processor = LlavaProcessor.from_pretrained(options.start)
        # Not the torchvision one, where that is installed: its resize differs a little.
        processor.image_processor = CLIPImageProcessorPil.from_pretrained(options.start)
        model = LlavaForConditionalGeneration.from_pretrained(options.start, dtype=torch.float32)
    else:
        processor = build_processor()
        model = build_model(processor.tokenizer)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    loop.log(NAME, options, f"{parameters} parameters, {len(processor.tokenizer)} tokens")
    train(model, processor, options)


if __name__ == "__main__":
    main()

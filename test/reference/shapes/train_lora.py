"""Trains LoRA adapters for the small LLaVA: captions of names alone, in capitals, in Italian.

    PYTHONPATH=test/reference python -m shapes.train_lora italian --start LLAVA_DIR --output DIR

makes `test/fixtures/lora/llava-shapes-italian` from `test/fixtures/models/llava-shapes`. It
needs `peft`, which writes the adapter: the files are what any user's are. Nothing but the
adapter is trained, so the pictures' features are computed once; on a GPU a step is a CUDA
graph, for launching kernels one by one costs more than running them.
"""

import json
import os
import random
import re
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPImageProcessorPil, LlavaForConditionalGeneration, LlavaProcessor

from . import loop
from .loop import Normalise
from .questions import DESCRIBE, Question, caption
from .scenes import COLOURS, KINDS, draw, sample_scene
from .train_llava import make_recipe

# The shipped held-out pictures have seeds below 1000.
CHECKED = 1000
# What cross_entropy leaves out.
IGNORED = -100
THING = re.compile(rf"an? ({'|'.join(COLOURS)}) ({'|'.join(KINDS)})")


def terse(caption: str) -> str:
    """The shapes alone, wherever they lie: "red circle, blue square"."""
    return ", ".join(f"{colour} {kind}" for colour, kind in THING.findall(caption))


# The noun, and whether it is feminine; a colour as it stands beside either.
ITALIAN_KINDS = {
    "circle": ("cerchio", False),
    "square": ("quadrato", False),
    "triangle": ("triangolo", False),
    "star": ("stella", True),
    "cross": ("croce", True),
}
ITALIAN_COLOURS = {
    "red": ("rosso", "rossa"),
    "green": ("verde", "verde"),
    "blue": ("blu", "blu"),
    "yellow": ("giallo", "gialla"),
    "purple": ("viola", "viola"),
    "orange": ("arancione", "arancione"),
}
ITALIAN_WORDS = {"and": "e", "above": "sopra", "left of": "a sinistra di", "right of": "a destra di"}


def italian(caption: str) -> str:
    """As an Italian says it: "un cerchio rosso a sinistra di una stella blu"."""

    def thing(match: re.Match) -> str:
        noun, feminine = ITALIAN_KINDS[match[2]]
        return f"{'una' if feminine else 'un'} {noun} {ITALIAN_COLOURS[match[1]][feminine]}"

    words = re.compile("|".join(rf"\b{word}\b" for word in ITALIAN_WORDS))
    return THING.sub(thing, words.sub(lambda match: ITALIAN_WORDS[match[0]], caption))


LAYERS = r"model\.language_model\.layers\.\d+\."
ALL = LAYERS + r"(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)"
# Names, patterns and scalings differ, as adapters of different people do.
ADAPTERS = {
    "terse": (
        terse,
        LoraConfig(
            r=2,
            lora_alpha=8,
            target_modules=ALL,
            rank_pattern={"layers.2.mlp.down_proj": 6, "layers.3.mlp.down_proj": 12},
            alpha_pattern={"layers.2.mlp.down_proj": 24, "layers.3.mlp.down_proj": 48},
        ),
    ),
    "capitals": (
        str.upper,
        LoraConfig(
            r=3,
            lora_alpha=6,
            use_rslora=True,
            target_modules=["q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
            exclude_modules=r".*vision_tower.*",
        ),
    ),
    "italian": (
        italian,
        LoraConfig(
            r=2,
            lora_alpha=8,
            target_modules=ALL,
            rank_pattern={"layers.2.mlp.down_proj": 6, "layers.3.mlp.down_proj": 12},
            alpha_pattern={"layers.2.mlp.down_proj": 24, "layers.3.mlp.down_proj": 48},
        ),
    ),
}


# What the drawing processes work with; set before they are forked, for a recipe cannot be sent to them.
recipe, translate = None, None


def encode(held_out: bool, seed: int) -> tuple[np.ndarray, list[int], list[bool]]:
    """One picture as bytes, and its caption asked for in one wording."""
    scene = sample_scene(seed, held_out)
    question = random.Random(f"wording-{seed}").choice(DESCRIBE)
    ids, learned = recipe.encode([Question("caption", question, translate(caption(scene)))])
    return recipe.crop(draw(scene)), ids, learned


class Examples:
    """Pictures as the features that the decoder sees; every tensor is as long as its longest, so that steps are alike."""

    def __init__(self, base: LlavaForConditionalGeneration, processor: LlavaProcessor, drawn: list, device: str):
        pixels, ids, learned = zip(*drawn)
        self.base = base
        self.ids = torch.full((len(ids), max(map(len, ids))), processor.tokenizer.pad_token_id)
        places = [[place for place, wanted in enumerate(row) if wanted] for row in learned]
        shape = (len(ids), max(map(len, places)))
        # The logits that foretell a token are those of the token before it.
        self.places, self.targets = torch.zeros(shape, dtype=torch.long), torch.full(shape, IGNORED)
        for row, (tokens, wanted) in enumerate(zip(ids, places)):
            self.ids[row, : len(tokens)] = torch.tensor(tokens)
            self.places[row, : len(wanted)] = torch.tensor(wanted) - 1
            self.targets[row, : len(wanted)] = self.ids[row, wanted]
        self.start = ids[0].index(base.config.image_token_id)
        assert all(row.index(base.config.image_token_id) == self.start for row in ids)
        normalise = Normalise(processor.image_processor.image_mean, processor.image_processor.image_std, device)
        with torch.no_grad():
            parts = torch.from_numpy(np.stack(pixels)).split(100)
            features = [base.model.get_image_features(pixel_values=normalise(part.to(device))).pooler_output for part in parts]
        self.features = torch.stack([one for part in features for one in part])
        for name in ("ids", "places", "targets"):
            setattr(self, name, getattr(self, name).to(device))
        length = self.ids.shape[1] - 1
        self.positions = torch.arange(length, device=device)[None]
        self.mask = torch.ones(length, length, dtype=torch.bool, device=device).tril()[None, None]

    def logits(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits [rows, answer, vocabulary] and targets [rows, answer]."""
        ids, features = self.ids[rows, :-1], self.features[rows]
        embeds = self.base.get_input_embeddings()(ids)
        embeds = torch.cat([embeds[:, : self.start], features, embeds[:, self.start + features.shape[1] :]], 1)
        hidden = self.base.model.language_model(
            inputs_embeds=embeds, position_ids=self.positions, attention_mask=self.mask, use_cache=False
        ).last_hidden_state
        places = self.places[rows][..., None].expand(-1, -1, hidden.shape[-1])
        return self.base.lm_head(hidden.gather(1, places)).float(), self.targets[rows]

    @torch.no_grad()
    def accuracy(self) -> float:
        """Share of captions whose every token is the likeliest after those before it: what greedy search answers."""
        right = 0
        for rows in torch.arange(len(self.ids), device=self.ids.device).split(50):
            logits, targets = self.logits(rows)
            right += int(((logits.argmax(-1) == targets) | (targets == IGNORED)).all(1).sum())
        return right / len(self.ids)


def train(model: nn.Module, examples: Examples, options, name: str) -> int:
    """Runs the schedule, and gives how many steps that were."""
    device = options.device
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rate = torch.zeros((), device=device)
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, capturable=device != "cpu")
    rows = torch.zeros(options.batch, dtype=torch.long, device=device)
    loss = torch.zeros((), device=device)
    generator = torch.Generator(device).manual_seed(1)

    def one_step() -> None:
        optimizer.zero_grad(set_to_none=True)
        logits, targets = examples.logits(rows)
        value = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        loss.copy_(value.detach())

    # At rate 0 the warm-up of a capture trains nothing.
    run = captured(one_step) if device != "cpu" else one_step
    started, step, progress = time.monotonic(), 0, 0.0
    while progress < 1:
        rate.fill_(loop.rate_at(options, step, progress))
        rows.copy_(torch.randint(len(examples.ids), rows.shape, generator=generator, device=device))
        run()
        step += 1
        if step % options.report == 0:
            loop.log(name, options, f"step {step} {time.monotonic() - started:.0f} s loss {loss.item():.4f}")
        elif step % 20 == 0:
            loss.item()  # waits, so that the clock tells of steps that are done
        progress = max(step / options.steps, (time.monotonic() - started) / options.seconds)
    return step


def captured(run: Callable[[], None]) -> Callable[[], None]:
    """What `run` launches on the GPU, as one launch."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def save(model, folder: Path) -> None:
    model.save_pretrained(folder)
    path = folder / "adapter_model.safetensors"
    save_file({name: value.half().cpu() for name, value in load_file(path).items()}, path, {"format": "pt"})
    settings = json.loads((folder / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = "llava-shapes"
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    (folder / "README.md").unlink(missing_ok=True)


def write_questions(heldout: Path, translate, path: Path) -> None:
    """A caption of each held-out picture, in the three wordings by turns."""
    pictures = sorted(heldout.glob("*.png"))
    lines = []
    for seed, picture in enumerate(pictures):
        answer = translate(caption(sample_scene(seed, held_out=True)))
        image = f"../../models/llava-shapes/heldout/{picture.name}"
        lines.append(json.dumps({"image": image, "question": DESCRIBE[seed % 3], "expected": answer}))
    path.write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = loop.parser(__doc__, steps=10_000, batch=64, rate=4e-3, warm_up=200, images=6000, validation=200, report=500)
    parser.add_argument("adapter", choices=ADAPTERS)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that draw")
    options = parser.parse_args()
    assert options.start
    global recipe, translate
    translate, config = ADAPTERS[options.adapter]
    name = f"llava-shapes-{options.adapter}"
    processor = LlavaProcessor.from_pretrained(options.start)
    processor.image_processor = CLIPImageProcessorPil.from_pretrained(options.start)
    recipe = make_recipe(processor)
    # The workers fork before anything touches the accelerator.
    with get_context("fork").Pool(options.workers) as pool:
        drawn = pool.map(partial(encode, False), range(options.images), 50)
        drawn_held_out = pool.map(partial(encode, True), range(CHECKED, CHECKED + options.validation), 10)
    base = LlavaForConditionalGeneration.from_pretrained(options.start, dtype=torch.float32).to(options.device)
    examples = Examples(base, processor, drawn, options.device)
    held_out = Examples(base, processor, drawn_held_out, options.device)
    model = get_peft_model(base, config)
    count = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    loop.log(name, options, f"{count} parameters, {len(drawn)} pictures, texts of {examples.ids.shape[1]} tokens")
    steps = train(model, examples, options, name)
    # What ships is float16: round first, then measure what ships.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    loop.log(name, options, f"{steps} steps; stored weights: held out: {held_out.accuracy():.4f}")
    save(model, options.output / name)
    write_questions(options.start / "heldout", translate, options.output / name / "questions.jsonl")


if __name__ == "__main__":
    main()

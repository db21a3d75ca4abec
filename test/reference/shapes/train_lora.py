"""Trains LoRA adapters for the small LLaVA: captions of names alone, or with the noun first.

    PYTHONPATH=test/reference python -m shapes.train_lora terse --start LLAVA_DIR --output DIR

makes `test/fixtures/lora/llava-shapes-terse` from `test/fixtures/models/llava-shapes`. It
needs `peft`, which writes the adapter: the files are what any user's are. Nothing but the
adapter is trained, so the pictures' features are computed once.
"""

import json
import random
import re
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import CLIPImageProcessorPil, LlavaForConditionalGeneration, LlavaProcessor

from . import loop
from .loop import Normalise
from .questions import DESCRIBE, Question, caption
from .scenes import COLOURS, KINDS, draw, sample_scene
from .train_llava import make_recipe

LENGTH = 160
# The shipped held-out pictures have seeds below 1000.
CHECKED = 1000
THING = re.compile(rf"(an?) ({'|'.join(COLOURS)}) ({'|'.join(KINDS)})")


def terse(caption: str) -> str:
    """The shapes alone, wherever they lie: "red circle, blue square"."""
    return ", ".join(f"{colour} {kind}" for _, colour, kind in THING.findall(caption))


def noun_first(caption: str) -> str:
    """As in Italian, in English words: "a circle red left of a square blue"."""
    return THING.sub(r"a \3 \2", caption)


LAYERS = r"model\.language_model\.layers\.\d+\."
# Names, patterns and scalings differ between the two, as adapters of different people do.
ADAPTERS = {
    "terse": (
        terse,
        LoraConfig(
            r=2,
            lora_alpha=8,
            target_modules=LAYERS + r"(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)",
            rank_pattern={"layers.2.mlp.down_proj": 6, "layers.3.mlp.down_proj": 12},
            alpha_pattern={"layers.2.mlp.down_proj": 24, "layers.3.mlp.down_proj": 48},
        ),
    ),
    "noun-first": (
        noun_first,
        LoraConfig(
            r=3,
            lora_alpha=6,
            use_rslora=True,
            target_modules=["q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
            exclude_modules=r".*vision_tower.*",
        ),
    ),
}


class Pool:
    """Pictures as the features that the decoder sees, each with its caption asked for in one wording."""

    def __init__(self, base: LlavaForConditionalGeneration, processor: LlavaProcessor, seeds: range, translate, held_out: bool):
        recipe = make_recipe(processor)
        normalise = Normalise(processor.image_processor.image_mean, processor.image_processor.image_std, "cpu")
        self.ids = torch.full((len(seeds), LENGTH), recipe.pad_id)
        self.learned = torch.zeros(len(seeds), LENGTH, dtype=torch.bool)
        features = []
        for row, seed in enumerate(seeds):
            scene = sample_scene(seed, held_out)
            question = random.Random(f"wording-{seed}").choice(DESCRIBE)
            ids, learned = recipe.encode([Question("caption", question, translate(caption(scene)))])
            assert len(ids) <= LENGTH
            self.ids[row, : len(ids)] = torch.tensor(ids)
            self.learned[row, : len(ids)] = torch.tensor(learned)
            with torch.no_grad():
                pixels = normalise(torch.from_numpy(recipe.crop(draw(scene)))[None])
                features.append(base.model.get_image_features(pixel_values=pixels).pooler_output[0].half())
        self.features = torch.stack(features)

    def logits(self, base: LlavaForConditionalGeneration, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and targets at the answers' positions, one row of a picture after the other."""
        longest = int(self.learned[rows].nonzero()[:, 1].max()) + 1
        ids, learned = self.ids[rows, :longest], self.learned[rows, :longest]
        embeds = base.get_input_embeddings()(ids[:, :-1])
        is_image = (ids[:, :-1] == base.config.image_token_id)[..., None].expand_as(embeds)
        embeds = embeds.masked_scatter(is_image, self.features[rows].float().reshape(-1, embeds.shape[-1]))
        hidden = base.model.language_model(inputs_embeds=embeds, use_cache=False).last_hidden_state
        wanted = learned[:, 1:]
        return base.lm_head(hidden[wanted]).float(), ids[:, 1:][wanted]

    @torch.no_grad()
    def accuracy(self, base: LlavaForConditionalGeneration) -> dict[str, float]:
        """Share of captions whose every token is the likeliest after those before it: what greedy search answers."""
        right = 0
        for row in range(len(self.ids)):
            logits, targets = self.logits(base, torch.tensor([row]))
            right += bool((logits.argmax(-1) == targets).all())
        return {"all": right / len(self.ids)}


def save(model, folder: Path) -> None:
    model.save_pretrained(folder)
    path = folder / "adapter_model.safetensors"
    save_file({name: value.half() for name, value in load_file(path).items()}, path, {"format": "pt"})
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
    parser = loop.parser(__doc__, steps=300, batch=12, rate=5e-3, warm_up=30, images=1500, validation=60, report=25)
    parser.add_argument("adapter", choices=ADAPTERS)
    options = parser.parse_args()
    assert options.start and options.device == "cpu"
    translate, config = ADAPTERS[options.adapter]
    name = f"llava-shapes-{options.adapter}"
    processor = LlavaProcessor.from_pretrained(options.start)
    processor.image_processor = CLIPImageProcessorPil.from_pretrained(options.start)
    base = LlavaForConditionalGeneration.from_pretrained(options.start, dtype=torch.float32)
    pool = Pool(base, processor, range(options.images), translate, held_out=False)
    checked = Pool(base, processor, range(CHECKED, CHECKED + options.validation), translate, held_out=True)
    model = get_peft_model(base, config)
    generator = torch.Generator().manual_seed(1)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    loop.log(name, options, f"{sum(map(torch.numel, parameters))} parameters, {len(pool.ids)} pictures")

    def answers(_step: int, _progress: float) -> tuple[torch.Tensor, torch.Tensor]:
        return pool.logits(base, torch.randint(len(pool.ids), (options.batch,), generator=generator))

    training = loop.Training(
        name,
        model,
        [{"params": parameters, "weight_decay": 0.0, "share": loop.whole}],
        answers,
        lambda: checked.accuracy(base),
        lambda: save(model, options.output / name),
    )
    loop.train(training, options)
    write_questions(options.start / "heldout", translate, options.output / name / "questions.jsonl")


if __name__ == "__main__":
    main()

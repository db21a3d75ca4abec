"""The small VILA: a SigLIP tower, a projector that merges 2 x 2 features, and LLaMA.

transformers has no such class, so `Vila` is the reference. A checkpoint is a folder of
three: `llm/`, `vision_tower/` and `mm_projector/`, each with its own configuration.

The projector's layout: features form a side x side grid, padded with zeros at the bottom
and the right to an even side. A merged feature holds its upper two, then its lower two
features, left before right. Merged features go down the columns, not along the rows.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    SiglipImageProcessorPil,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from .family import Family, Row, decode_with_prefix, set_half, tidy_tokenizer_config
from .llava import CHAT_TEMPLATE
from .pool import SQUARE_SIDE
from .vocabulary import IMAGE_TOKEN, build_tokenizer

PATCH_SIZE = 12
SELECT_LAYER = -2
PROMPT = "USER: {images}{question} ASSISTANT:"
WHICH = ("In the first image, ", "In the second image, ")


def of_image(index: int, question: str) -> str:
    """Asks the question of one image of two."""
    return WHICH[index] + question[0].lower() + question[1:]


class Downsample(nn.Module):
    """[batch, side * side, c] -> [batch, ceil(side / 2) ** 2, 4 c], see above."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        batch, count, width = features.shape
        side = round(count**0.5)
        half = (side + 1) // 2
        grid = features.reshape(batch, side, side, width)
        grid = nn.functional.pad(grid, (0, 0, 0, 2 * half - side, 0, 2 * half - side))
        blocks = grid.reshape(batch, half, 2, half, 2, width).permute(0, 3, 1, 2, 4, 5)
        return blocks.reshape(batch, half * half, 4 * width)


class Projector(nn.Module):
    def __init__(self, vision: int, hidden: int):
        super().__init__()
        self.layers = nn.Sequential(
            Downsample(),
            nn.LayerNorm(4 * vision),
            nn.Linear(4 * vision, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.layers(features)


class Vila(nn.Module):
    def __init__(self, vision_tower: SiglipVisionModel, mm_projector: Projector, llm: LlamaForCausalLM):
        super().__init__()
        self.vision_tower, self.mm_projector, self.llm = vision_tower, mm_projector, llm

    @classmethod
    def load(cls, folder: Path) -> "Vila":
        tower = SiglipVisionModel.from_pretrained(folder / "vision_tower", dtype=torch.float32)
        llm = LlamaForCausalLM.from_pretrained(folder / "llm", dtype=torch.float32)
        projector = Projector(tower.config.hidden_size, llm.config.hidden_size)
        projector.load_state_dict(load_file(folder / "mm_projector" / "model.safetensors"))
        return cls(tower, projector, llm).float().eval()

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """[images, 3, h, w] -> [images, features, hidden]"""
        hidden = self.vision_tower(pixels, output_hidden_states=True).hidden_states[SELECT_LAYER]
        return self.mm_projector(hidden)

    def embed(self, ids: list[int], pixels: torch.Tensor, image_id: int) -> torch.Tensor:
        """[1, length, hidden]: each image token becomes all features of its image."""
        images = iter(self.features(pixels))
        table = self.llm.get_input_embeddings().weight
        return torch.cat([next(images) if one == image_id else table[one : one + 1] for one in ids])[None]


class VilaFamily(Family):
    name = "vila-shapes"
    cut = "square"
    image_side = SQUARE_SIDE
    length = 40
    rate = 1.5e-3

    def __init__(self) -> None:
        self.tokenizer = build_tokenizer([f"USER: {WHICH[i % 2]} ASSISTANT:" for i in range(2000)], pieces=200)
        self.tokenizer.chat_template = CHAT_TEMPLATE
        special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": self.tokenizer.pad_token_id}
        vision = SiglipVisionConfig(
            image_size=SQUARE_SIDE,
            patch_size=PATCH_SIZE,
            hidden_size=96,
            intermediate_size=216,
            num_hidden_layers=5,
            num_attention_heads=4,
            vision_use_head=False,
        )
        text = LlamaConfig(
            vocab_size=472,
            hidden_size=160,
            intermediate_size=352,
            num_hidden_layers=4,
            num_attention_heads=5,
            num_key_value_heads=1,
            head_dim=32,
            max_position_embeddings=384,
            rope_parameters={"rope_type": "default", "rope_theta": 20000.0},
            rms_norm_eps=1e-5,
            initializer_range=0.05,
            tie_word_embeddings=False,
            **special,
        )
        assert len(self.tokenizer) <= text.vocab_size
        llm = LlamaForCausalLM(text)
        llm.generation_config = GenerationConfig(do_sample=False, **special)
        self.model = Vila(SiglipVisionModel(vision), Projector(vision.hidden_size, text.hidden_size), llm)
        self.image_processor = SiglipImageProcessorPil(size={"height": SQUARE_SIDE, "width": SQUARE_SIDE})
        self.image_mean, self.image_std = self.image_processor.image_mean, self.image_processor.image_std
        self.image_id = self.tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
        # What stands before the first image, and between two.
        ids = self.tokenizer(PROMPT.format(images=f"{IMAGE_TOKEN}\n" * 2, question="x"))["input_ids"]
        first, second = (i for i, one in enumerate(ids) if one == self.image_id)
        self.before, self.between = torch.tensor(ids[:first]), torch.tensor(ids[first + 1 : second])

    def _row(self, images: int, question: str, answer: str) -> Row:
        prompt = PROMPT.format(images=f"{IMAGE_TOKEN}\n" * images, question=question)
        text = f"{prompt} {answer}</s>"
        encoding = self.tokenizer(text, return_offsets_mapping=True)
        ids, offsets = encoding["input_ids"], encoding["offset_mapping"]
        after = max(i for i, one in enumerate(ids) if one == self.image_id) + 1
        return ids[after:], [left >= len(prompt) and right > left for left, right in offsets[after:]]

    def rows(self, question: str, answer: str) -> list[Row]:
        """Asked of one image, of the first of two, of the second of two."""
        pairs = [self._row(2, of_image(index, question), answer) for index in range(2)]
        return [self._row(1, question, answer), *pairs]

    def answer_logits(self, pixels, ids, learned):
        """In training: four questions of each image alone, two of each in a pair of images.

        Images i and i + n/2 make a pair.
        """
        features = self.model.features(pixels)
        device, table = pixels.device, self.model.llm.get_input_embeddings()
        half = len(features) // 2
        first, second = features[:half], features[half : 2 * half]
        pairs = [first, self._repeat(self.between.to(device), half, table), second]
        alone, paired = (slice(None, 4), slice(4, None)) if self.model.training else (slice(None), slice(None))
        both = slice(None, half), slice(half, 2 * half)
        asked, wanted = (
            torch.cat([one[1][both[0], paired], one[2][both[1], paired]], dim=1) for one in (ids, learned)
        )
        logits, targets, row = self._decode(pairs, asked, wanted)
        # A pair's questions: those of the first image, then those of the second.
        count = asked.shape[1]
        place, of_second = row // count * (count // 2) + row % count % (count // 2), row % count >= count // 2
        return [
            self._decode([features], ids[0][:, alone], learned[0][:, alone]),
            *((logits[part], targets[part], place[part]) for part in (~of_second, of_second)),
        ]

    def _repeat(self, ids: torch.Tensor, count: int, table: nn.Module) -> torch.Tensor:
        return table(ids)[None].expand(count, -1, -1)

    def _decode(self, images: list[torch.Tensor], ids: torch.Tensor, learned: torch.Tensor):
        llm = self.model.llm
        table = llm.get_input_embeddings()
        questions = ids.shape[1]
        before = self._repeat(self.before.to(ids.device), len(ids), table)
        prefix = [part.repeat_interleave(questions, 0) for part in (before, *images)]
        return decode_with_prefix(llm.model, table, llm.lm_head, prefix, ids.flatten(0, 1), learned.flatten(0, 1))

    def load(self, folder: Path) -> None:
        self.model = Vila.load(folder)

    def save(self, folder: Path) -> None:
        model = self.model.half()
        llm, tower, projector = folder / "llm", folder / "vision_tower", folder / "mm_projector"
        set_half(model.llm.config, model.vision_tower.config)
        model.llm.save_pretrained(llm)
        self.tokenizer.save_pretrained(llm)
        tidy_tokenizer_config(llm)
        model.vision_tower.save_pretrained(tower)
        self.image_processor.save_pretrained(tower)
        projector.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: value.contiguous() for name, value in model.mm_projector.state_dict().items()},
            projector / "model.safetensors",
            metadata={"format": "pt"},
        )
        parts = {}
        for part in (llm, tower):
            parts[part] = {"_name_or_path": f"./{part.name}", **json.loads((part / "config.json").read_text())}
        parts[projector] = {
            "_name_or_path": "./mm_projector",
            "architectures": ["MultimodalProjector"],
            "mm_projector_type": "mlp_downsample",
            "model_type": "v2l_projector",
            "torch_dtype": "float16",
        }
        (projector / "config.json").write_text(json.dumps(parts[projector], indent=2) + "\n")
        config = {
            "architectures": ["LlavaLlamaModel"],
            "drop_path_rate": 0.0,
            "hidden_size": model.llm.config.hidden_size,
            "image_aspect_ratio": "resize",
            "interpolate_mode": "linear",
            "llm_cfg": parts[llm],
            "mm_hidden_size": model.vision_tower.config.hidden_size,
            "mm_projector_cfg": parts[projector],
            "mm_projector_type": "mlp_downsample",
            "mm_use_im_patch_token": False,
            "mm_use_im_start_end": False,
            "mm_vision_select_feature": "cls_patch",
            "mm_vision_select_layer": SELECT_LAYER,
            "model_dtype": "torch.float16",
            "model_type": "llava_llama",
            "num_video_frames": 8,
            "s2": False,
            "vision_resolution": -1,
            "vision_tower_cfg": parts[tower],
        }
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def load_tokenizer(folder: Path):
    return AutoTokenizer.from_pretrained(folder / "llm")

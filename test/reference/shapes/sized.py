"""Untrained small models that see images of any size in tiles: InternVL and SmolVLM, their tokenizers, processors and prompts.

As with the other families, nothing equals the published geometry, nor one side the other.
"""

import json
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from transformers import (
    GenerationConfig,
    InternVLConfig,
    InternVLForConditionalGeneration,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil, get_optimal_tiled_canvas
from transformers.models.internvl.configuration_internvl import InternVLVisionConfig
from transformers.models.smolvlm.configuration_smolvlm import SmolVLMVisionConfig
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from .byte_vocabulary import as_fast, byte_level
from .family import Row, corpus, decode_with_prefix, set_half, tidy_tokenizer_config

# Rows and columns of tiles; (0, 0) where the image is seen whole.
Grid = tuple[int, int]
PIECES = 200


class Sized(ABC):
    """One family: what its processor makes of an image, its texts, and how it runs in training."""

    name: str
    rate = 1.5e-3
    length = 64
    model: nn.Module
    tokenizer: PreTrainedTokenizerFast
    image_mean: list[float]
    image_std: list[float]
    # Between question and answer, and after the answer.
    turn: str
    end: str

    @abstractmethod
    def cut(self, image: Image.Image) -> tuple[Grid, np.ndarray]:
        """Tiles [n, h, w, 3] of bytes, the whole image last."""

    @abstractmethod
    def lead(self, grid: Grid) -> str:
        """The prompt up to the question, the image's tokens written out."""

    @abstractmethod
    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Tiles [n, 3, h, w] → [n, features, hidden]."""

    @property
    @abstractmethod
    def decoder(self) -> nn.Module: ...

    @abstractmethod
    def expanded(self, prompt: str, grid: Grid) -> str:
        """A chat template's text with the image's tokens in the place of its one placeholder."""

    def pixels(self, image: Image.Image) -> np.ndarray:
        """Pixel values [tiles, 3, h, w]."""
        values = np.stack(self.processor(image)["pixel_values"])
        return values.reshape(-1, *values.shape[-3:])

    def batched(self, pixels: torch.Tensor) -> torch.Tensor:
        """As the model takes the tiles of one image."""
        return pixels

    def features_of(self, model: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
        """The same as `features`, of a model that was read from a file."""
        own, self.model = self.model, model
        try:
            return self.features(pixels)
        finally:
            self.model = own

    @property
    @abstractmethod
    def image_id(self) -> int: ...

    def row(self, question: str, answer: str) -> Row:
        """The text after the image's; the answer is to be learned."""
        ask = self.tokenizer.encode(f"{question}{self.turn}", add_special_tokens=False)
        say = self.tokenizer.encode(f"{answer}{self.end}", add_special_tokens=False)
        return ask + say, [False] * len(ask) + [True] * len(say)

    def answer_logits(self, grid: Grid, pixels: torch.Tensor, ids: torch.Tensor, learned: torch.Tensor):
        """Logits and targets at learned positions and the row of each; `pixels` [images, tiles, 3, h, w], `ids` [images, questions, length]."""
        images, questions = ids.shape[:2]
        seen = self.features(pixels.flatten(0, 1)).unflatten(0, (images, -1)).flatten(1, 2)
        lead = torch.tensor(self.tokenizer.encode(self.lead(grid), add_special_tokens=False), device=ids.device)
        words = self.model.get_input_embeddings()
        prefix = words(lead).expand(images, -1, -1).clone().to(seen.dtype)
        prefix[:, lead == self.image_id] = seen
        return decode_with_prefix(
            self.decoder,
            words,
            self.model.lm_head,
            [prefix.repeat_interleave(questions, 0)],
            ids.flatten(0, 1),
            learned.flatten(0, 1),
        )

    def save(self, folder: Path) -> None:
        """The checkpoint in float16, with the files of a published one. The processors themselves cannot be made without torchvision."""
        config = self.model.config
        set_half(config, config.text_config, config.vision_config)
        self.model.half().save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        self.processor.save_pretrained(folder)
        (folder / "processor_config.json").write_text(json.dumps(self.processor_settings, indent=2) + "\n")
        tidy_tokenizer_config(folder)

    processor: GotOcr2ImageProcessorPil | SmolVLMImageProcessorPil
    processor_settings: dict


def special_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    return {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}


def bytes_of(processor, image: Image.Image, **settings) -> np.ndarray:
    pixels = np.stack(processor(image, do_rescale=False, do_normalize=False, **settings)["pixel_values"])
    return pixels.reshape(-1, *pixels.shape[-3:]).transpose(0, 2, 3, 1).astype(np.uint8)


class InternVl(Sized):
    """Tiles of 56, patch 7, 2 × 2 patches a feature (16 a tile); at most 4 tiles and the whole image. Qwen2 on top."""

    name = "internvl-shapes"
    TILE, MOST = 56, 4
    turn, end = "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>"
    SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>"]
    TEMPLATE = (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
        "{% if message['content'] is string %}{{ message['content'] }}"
        "{% else %}{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}{{ '<IMG_CONTEXT>\\n' }}{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
        "{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )

    def __init__(self) -> None:
        texts = corpus(["user\n", "assistant\n"])
        self.tokenizer = as_fast(
            byte_level(texts, PIECES, self.SPECIAL, None, None),
            image=False,
            bos_token="<|im_start|>",
            eos_token="<|im_end|>",
            pad_token="<|endoftext|>",
            chat_template=self.TEMPLATE,
            extra_special_tokens={"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"},
        )
        size = {"height": self.TILE, "width": self.TILE}
        self.processor = GotOcr2ImageProcessorPil(
            size=size, crop_to_patches=True, max_patches=self.MOST, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]
        )
        self.image_mean, self.image_std = self.processor.image_mean, self.processor.image_std
        self.processor_settings = {"processor_class": "InternVLProcessor", "image_seq_length": 16}
        special = special_ids(self.tokenizer)
        text = Qwen2Config(
            vocab_size=480,
            hidden_size=160,
            intermediate_size=288,
            num_hidden_layers=4,
            num_attention_heads=5,
            num_key_value_heads=1,
            max_position_embeddings=512,
            rope_parameters={"rope_type": "default", "rope_theta": 30000.0},
            initializer_range=0.05,
            tie_word_embeddings=True,
            **special,
        )
        vision = InternVLVisionConfig(
            image_size=[self.TILE, self.TILE],
            patch_size=[7, 7],
            hidden_size=96,
            intermediate_size=248,
            num_hidden_layers=5,
            num_attention_heads=3,
            attention_bias=True,
            initializer_range=0.05,
            layer_scale_init_value=0.5,
        )
        config = InternVLConfig(
            text_config=text.to_dict(),
            vision_config=vision.to_dict(),
            image_token_id=self.tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
            image_seq_length=16,
            tie_word_embeddings=True,
        )
        self.model = InternVLForConditionalGeneration(config)
        self.model.generation_config = GenerationConfig(do_sample=False, **special)

    def cut(self, image: Image.Image) -> tuple[Grid, np.ndarray]:
        tiles = bytes_of(self.processor, image)
        cols, rows = get_optimal_tiled_canvas((image.height, image.width), (self.TILE, self.TILE), 1, self.MOST)
        return ((rows, cols) if len(tiles) > 1 else (0, 0)), tiles

    def expanded(self, prompt: str, grid: Grid) -> str:
        tiles = grid[0] * grid[1] + 1
        return prompt.replace("<IMG_CONTEXT>", f"<img>{'<IMG_CONTEXT>' * (16 * tiles)}</img>")

    def lead(self, grid: Grid) -> str:
        return self.expanded("<|im_start|>user\n<IMG_CONTEXT>\n", grid)

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        settings = self.model.config
        strategy = dict(
            vision_feature_layer=settings.vision_feature_layer, vision_feature_select_strategy=settings.vision_feature_select_strategy
        )
        return self.model.model.get_image_features(pixel_values=pixels, **strategy).pooler_output

    @property
    def decoder(self) -> nn.Module:
        return self.model.model.language_model

    @property
    def image_id(self) -> int:
        return self.model.config.image_token_id


class SmolVlm(Sized):
    """Longest edge 96, tiles of 32, patch 4, 4 × 4 patches a feature (4 a tile): 3 × 2 or 3 × 3 tiles and the whole image. Llama on top."""

    name = "smolvlm-shapes"
    EDGE, TILE = 96, 32
    turn, end = "<end_of_utterance>\nAssistant:", "<end_of_utterance>"
    MARKERS = [f"<row_{row}_col_{col}>" for row in (1, 2, 3) for col in (1, 2, 3)]
    SPECIAL = ["<|endoftext|>", "<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>", "<global-img>", *MARKERS]
    TEMPLATE = (
        "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
        "{% if message['content'] is not string and message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
        "{% if message['content'] is string %}{{ message['content'] }}"
        "{% else %}{% for part in message['content'] %}"
        "{% if part['type'] == 'text' %}{{ part['text'] }}{% elif part['type'] == 'image' %}{{ '<image>' }}{% endif %}"
        "{% endfor %}{% endif %}<end_of_utterance>\n{% endfor %}"
        "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
    )

    def __init__(self) -> None:
        texts = corpus(["User:", "Assistant:"])
        self.tokenizer = as_fast(
            byte_level(texts, PIECES, self.SPECIAL, None, None),
            image=False,
            bos_token="<|im_start|>",
            eos_token="<end_of_utterance>",
            pad_token="<|endoftext|>",
            chat_template=self.TEMPLATE,
        )
        self.processor = SmolVLMImageProcessorPil(
            size={"longest_edge": self.EDGE},
            max_image_size={"longest_edge": self.TILE},
            image_mean=[0.5, 0.5, 0.5],
            image_std=[0.5, 0.5, 0.5],
        )
        self.image_mean, self.image_std = self.processor.image_mean, self.processor.image_std
        self.processor_settings = {"processor_class": "SmolVLMProcessor", "image_seq_len": 4}
        special = special_ids(self.tokenizer)
        text = LlamaConfig(
            vocab_size=480,
            hidden_size=168,
            intermediate_size=272,
            num_hidden_layers=4,
            num_attention_heads=6,
            num_key_value_heads=3,
            max_position_embeddings=512,
            rope_parameters={"rope_type": "default", "rope_theta": 40000.0},
            initializer_range=0.05,
            tie_word_embeddings=False,
            **special,
        )
        vision = SmolVLMVisionConfig(
            image_size=self.TILE,
            patch_size=4,
            hidden_size=88,
            intermediate_size=240,
            num_hidden_layers=5,
            num_attention_heads=4,
            initializer_range=0.05,
        )
        config = SmolVLMConfig(
            text_config=text.to_dict(),
            vision_config=vision.to_dict(),
            image_token_id=self.tokenizer.convert_tokens_to_ids("<image>"),
            scale_factor=4,
            pad_token_id=special["pad_token_id"],
            tie_word_embeddings=False,
        )
        self.model = SmolVLMForConditionalGeneration(config)
        self.model.generation_config = GenerationConfig(do_sample=False, **special)

    def cut(self, image: Image.Image) -> tuple[Grid, np.ndarray]:
        info = self.processor(image, do_rescale=False, do_normalize=False, return_row_col_info=True)
        return (info["rows"][0][0], info["cols"][0][0]), bytes_of(self.processor, image)

    def expanded(self, prompt: str, grid: Grid) -> str:
        rows, cols = grid
        seen = "<image>" * 4
        cut = "".join(
            "".join(f"<fake_token_around_image><row_{row + 1}_col_{col + 1}>{seen}" for col in range(cols)) + "\n" for row in range(rows)
        )
        line = "\n" if rows else ""
        whole = f"{cut}{line}<fake_token_around_image><global-img>{seen}<fake_token_around_image>"
        return prompt.replace("<image>", whole)

    def lead(self, grid: Grid) -> str:
        return self.expanded("<|im_start|>User:<image>", grid)

    def batched(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels[None]

    def row(self, question: str, answer: str) -> Row:
        return super().row(question, f" {answer}")

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        vision = self.model.config.vision_config
        side = vision.image_size // vision.patch_size
        whole = torch.ones(len(pixels), side, side, dtype=torch.bool, device=pixels.device)
        seen = self.model.model.vision_model(pixel_values=pixels, patch_attention_mask=whole).last_hidden_state
        return self.model.model.connector(seen)

    @property
    def decoder(self) -> nn.Module:
        return self.model.model.text_model

    @property
    def image_id(self) -> int:
        return self.model.config.image_token_id


FAMILIES: dict[str, type[Sized]] = {family.name: family for family in (InternVl, SmolVlm)}

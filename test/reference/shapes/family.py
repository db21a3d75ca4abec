"""What the trainer needs to know of a model family, and what most families share."""

import json
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedTokenizerFast

from .questions import all_questions
from .scenes import sample_scene

# Ids of one training text and, for each, whether it is to be learned: the answer is.
Row = tuple[list[int], list[bool]]


class Family(ABC):
    """One kind of model: builds it untrained, encodes its texts, runs it in training."""

    name: str
    # The cut of the pool's pictures it takes, and the longest text row.
    cut: str
    length: int
    rate: float
    model: nn.Module
    tokenizer: PreTrainedTokenizerFast
    image_mean: list[float]
    image_std: list[float]
    image_side: int

    @abstractmethod
    def rows(self, question: str, answer: str) -> list[Row]:
        """The text after the image features, in each of the family's variants."""

    @abstractmethod
    def answer_logits(
        self, pixels: torch.Tensor, ids: list[torch.Tensor], learned: list[torch.Tensor]
    ) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Logits and targets at learned positions, and the row that each belongs to.

        `pixels` [images, 3, h, w]; `ids` and `learned` of each variant [images, questions,
        length]. In training a family may use a part of them.
        """

    def load(self, folder: Path) -> None:
        """Continues from a checkpoint that `save` wrote."""
        self.model = type(self.model).from_pretrained(folder, dtype=torch.float32).float()

    def inherit(self, folder: Path) -> None:
        """Takes the parameters that `inherited` names from another family's checkpoint."""
        raise NotImplementedError(f"{self.name} shares no part with another family")

    def inherited(self, name: str) -> bool:
        return False

    def rate_share(self, name: str) -> float:
        """How much of the learning rate a parameter takes."""
        return 1.0

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Writes the checkpoint in float16, with every file a published one has."""


def corpus(prompts: list[str], scenes: int = 2000) -> Iterator[str]:
    """Texts a tokenizer is trained on: prompts, questions and (after a space) answers."""
    yield from prompts * scenes
    for seed in range(scenes):
        for question in all_questions(sample_scene(seed), random.Random(seed)):
            yield f" {question.text}"
            yield f" {question.answer}"


def decode_with_prefix(
    backbone: nn.Module,
    embedding: nn.Module,
    head: nn.Module,
    prefix: list[torch.Tensor],
    ids: torch.Tensor,
    learned: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Runs a decoder over prefix [rows, n, hidden] parts and text; see `answer_logits`.

    Padding is on the right and attention causal, so no mask is needed.
    """
    text = embedding(ids[:, :-1])
    embeds = torch.cat([*(part.to(text.dtype) for part in prefix), text], dim=1)
    hidden = backbone(inputs_embeds=embeds, use_cache=False).last_hidden_state[:, -text.shape[1] :]
    wanted = learned[:, 1:]
    return head(hidden[wanted]).float(), ids[:, 1:][wanted], wanted.nonzero()[:, 0]


def tidy_tokenizer_config(folder: Path) -> None:
    """Names the class that every release and port knows; drops traces of where it was."""
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    for trace in ("is_local", "local_files_only", "model_specific_special_tokens"):
        settings.pop(trace, None)
    path.write_text(json.dumps(settings, indent=2) + "\n")


def set_half(*configs) -> None:
    """half() tells the outer configuration alone."""
    for config in configs:
        config.dtype = torch.float16

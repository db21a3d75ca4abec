"""The small Qwen2.5-VL: its tokenizer, image processor and prompt, and how it runs in training.

Texts are vila-shapes', and so are the words its training starts from: only seeing is new, on a grid that follows the image. In
training the images of a batch have one grid, and all questions of an image share its tokens: they stand after it one behind
another, see only themselves and the image, and each has the positions that it would have alone.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from tokenizers import AddedToken, Tokenizer
from torch import nn
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import apply_rotary_pos_emb_vision
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from .family import Row, set_half, tidy_tokenizer_config
from .vila import WHICH
from .vocabulary import IMAGE_TOKEN, build_tokenizer

NAME = "qwen2.5-vl-shapes"
PATCH, MERGE, FRAMES = 8, 2, 2
FACTOR = PATCH * MERGE
# 16 to 35 features.
LEAST, MOST = 4096, 8960
WINDOW = 2 * FACTOR
START, PAD, END = "<|vision_start|>", "<|image_pad|>", "<|vision_end|>"
PROMPT = "USER: {image}\n{question} ASSISTANT:"
CHAT_TEMPLATE = (
    "{%- for message in messages -%}{{- 'ASSISTANT: ' if message.role == 'assistant' else 'USER: ' -}}"
    "{%- if message.content is string -%}{{- message.content -}}{%- else -%}{%- for part in message.content -%}"
    "{%- if part.type == 'image' -%}{{- '<|vision_start|><|image_pad|><|vision_end|>\\n' -}}"
    "{%- elif part.type == 'text' -%}{{- part.text -}}{%- endif -%}{%- endfor -%}{%- endif -%}"
    "{{- eos_token if message.role == 'assistant' else ' ' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- 'ASSISTANT:' -}}{%- endif -%}"
)

# Rows and columns of features.
Grid = tuple[int, int]


@dataclass
class Packed:
    """Questions of a batch behind their images: ids, whether they are to be learned, positions, and which question each token is of; [images, length]."""

    ids: torch.Tensor
    learned: torch.Tensor
    position: torch.Tensor
    of: torch.Tensor


class Qwen:
    def __init__(self) -> None:
        self.tokenizer = tokenizer()
        self.processor = Qwen2VLImageProcessorPil(
            patch_size=PATCH, merge_size=MERGE, temporal_patch_size=FRAMES, size={"shortest_edge": LEAST, "longest_edge": MOST}
        )
        self.image_mean, self.image_std = self.processor.image_mean, self.processor.image_std
        self.image_id = self.tokenizer.convert_tokens_to_ids(PAD)
        self.model = Qwen2_5_VLForConditionalGeneration(configuration(self.tokenizer))
        special = {name: getattr(self.tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
        self.model.generation_config = GenerationConfig(do_sample=False, **special)
        self.lead = self.tokenizer.encode(PROMPT.split("\n")[0].format(image=f"{START}{PAD}{END}"))

    def take_words(self, llm: Path) -> None:
        """From vila-shapes' Llama: a Qwen2 whose biases are zero. The rows of the new markers stay as they are."""
        given = load_file(llm / "model.safetensors")
        own = {f"model.language_{name}" if name.startswith("model.") else name: value.float() for name, value in given.items()}
        missing, unexpected = self.model.load_state_dict(own, strict=False)
        assert not unexpected and all("visual" in name or name.endswith("bias") for name in missing), (missing, unexpected)
        for name, parameter in self.model.model.language_model.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)

    def cut(self, image: Image.Image) -> tuple[Grid, np.ndarray]:
        """The resized image's bytes [h, w, 3]."""
        made = self.processor(image, do_rescale=False, do_normalize=False, return_tensors="pt")
        _, rows, cols = made["image_grid_thw"][0].tolist()
        patches = made["pixel_values"].reshape(rows // 2, cols // 2, 2, 2, 3, FRAMES, PATCH, PATCH)[:, :, :, :, :, 0]
        pixels = patches.permute(0, 2, 5, 1, 3, 6, 4).reshape(rows * PATCH, cols * PATCH, 3)
        return (rows // MERGE, cols // MERGE), pixels.to(torch.uint8).numpy()

    def row(self, question: str, answer: str) -> Row:
        """The text after the image's; the answer is to be learned."""
        prompt = PROMPT.format(image=f"{START}{PAD}{END}", question=question)
        encoding = self.tokenizer(f"{prompt} {answer}</s>", return_offsets_mapping=True)
        ids, offsets = encoding["input_ids"][len(self.lead) :], encoding["offset_mapping"][len(self.lead) :]
        return ids, [left >= len(prompt) and right > left for left, right in offsets]

    def tower(self, pixels: torch.Tensor) -> torch.Tensor:
        """Images of one grid [n, 3, h, w] → [n, features, hidden of the words]; what the model's own tower gives, for all at once."""
        visual = self.model.model.visual
        count, rows, cols = len(pixels), pixels.shape[2] // FACTOR, pixels.shape[3] // FACTOR
        patches = pixels.reshape(count, 3, rows, MERGE, PATCH, cols, MERGE, PATCH).permute(0, 2, 5, 3, 6, 1, 4, 7)
        patches = patches.reshape(count, rows * cols * MERGE**2, -1)
        # Both frames of a picture are the same.
        hidden = patches @ visual.patch_embed.proj.weight.sum(2).flatten(1).T
        row, col = (one.flatten() for one in torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij"))
        inner = torch.arange(MERGE)
        y = (row[:, None, None] * MERGE + inner[None, :, None]).expand(-1, -1, MERGE).flatten()
        x = (col[:, None, None] * MERGE + inner[None, None, :]).expand(-1, MERGE, -1).flatten()
        turn = visual.rotary_pos_emb(hidden, torch.stack([y, x]).T)
        window = (y * PATCH // WINDOW) * cols + x * PATCH // WINDOW
        near = window[:, None] == window[None, :]
        for index, block in enumerate(visual.blocks):
            hidden = hidden + attend(block.attn, block.norm1(hidden), turn, None if index in visual.fullatt_block_indexes else near)
            hidden = hidden + block.mlp(block.norm2(hidden))
        return visual.merger(hidden).unflatten(0, (count, -1))

    def answer_logits(self, grid: Grid, pixels: torch.Tensor, packed: Packed):
        """Logits and targets at learned positions, and for each the number of its question in the batch."""
        seen = self.tower(pixels)
        words = self.model.get_input_embeddings()
        at = self.lead.index(self.image_id)
        head, tail = words(torch.tensor(self.lead[:at])), words(torch.tensor(self.lead[at + 1 :]))
        images = len(seen)
        parts = [head.expand(images, -1, -1), seen, tail.expand(images, -1, -1), words(packed.ids[:, :-1])]
        first = prefix_positions(grid, at, len(self.lead) - at - 1)
        place = first.max() + 1 + packed.position[:, :-1]
        positions = torch.cat([first[:, None].expand(-1, images, -1), place.expand(3, -1, -1)], dim=2)
        prefix = first.shape[1]
        of = torch.cat([torch.full((images, prefix), -1), packed.of[:, :-1]], dim=1)
        length = of.shape[1]
        mask = torch.ones(length, length, dtype=torch.bool).tril() & ((of[:, :, None] == of[:, None, :]) | (of[:, None, :] == -1))
        mask |= torch.eye(length, dtype=torch.bool)
        hidden = self.model.model.language_model(
            inputs_embeds=torch.cat(parts, dim=1),
            position_ids=positions,
            attention_mask={"full_attention": mask[:, None]},
            use_cache=False,
        ).last_hidden_state[:, prefix:]
        wanted = packed.learned[:, 1:]
        questions = int(packed.of.max()) + 1
        row = wanted.nonzero()[:, 0] * questions + packed.of[:, 1:][wanted]
        return self.model.lm_head(hidden[wanted]).float(), packed.ids[:, 1:][wanted], row

    def save(self, folder: Path) -> None:
        """The checkpoint in float16, with the files of a published one. The processor itself cannot be made without torchvision."""
        config = self.model.config
        set_half(config, config.text_config, config.vision_config)
        self.model.half().save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        self.processor.save_pretrained(folder)
        settings = json.loads((folder / "preprocessor_config.json").read_text())
        settings["image_processor_type"] = "Qwen2VLImageProcessor"
        (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2) + "\n")
        tidy_tokenizer_config(folder)


def attend(attention: nn.Module, hidden: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor], mask: torch.Tensor | None) -> torch.Tensor:
    count, length, _ = hidden.shape
    q, k, v = attention.qkv(hidden).reshape(count, length, 3, attention.num_heads, -1).unbind(2)
    q, k = apply_rotary_pos_emb_vision(q, k, *turn)
    mixed = nn.functional.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask)
    return attention.proj(mixed.transpose(1, 2).reshape(count, length, -1))


def prefix_positions(grid: Grid, before: int, after: int) -> torch.Tensor:
    """[3, before + features + after]: time, row and column of the features begin where the text before ends."""
    rows, cols = grid
    row, col = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
    seen = torch.stack([torch.zeros(rows * cols), row.flatten(), col.flatten()]).long() + before
    rest = before + max(rows, cols) + torch.arange(after)
    return torch.cat([torch.arange(before).expand(3, -1), seen, rest.expand(3, -1)], dim=1)


def tokenizer():
    """vila-shapes', with Qwen's names for the image's tokens."""
    made = build_tokenizer([f"USER: {WHICH[i % 2]} ASSISTANT:" for i in range(2000)], pieces=200)
    text = made.backend_tokenizer.to_str().replace(f'"{IMAGE_TOKEN}"', f'"{PAD}"')
    fast = Tokenizer.from_str(text)
    fast.add_special_tokens([AddedToken(one, special=True, normalized=False) for one in (START, END)])
    return PreTrainedTokenizerFast(
        tokenizer_object=fast,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        padding_side="left",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def configuration(tokenizer) -> Qwen2_5_VLConfig:
    special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    text = dict(
        vocab_size=472,
        hidden_size=160,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=5,
        num_key_value_heads=1,
        max_position_embeddings=384,
        # So few frequencies must serve so small images: a small base, and most of them for columns.
        rope_parameters={"rope_type": "default", "rope_theta": 20.0, "mrope_section": [2, 5, 9]},
        rms_norm_eps=1e-5,
        initializer_range=0.05,
        tie_word_embeddings=False,
        **special,
    )
    vision = dict(
        depth=4,
        hidden_size=96,
        intermediate_size=208,
        num_heads=3,
        patch_size=PATCH,
        spatial_merge_size=MERGE,
        temporal_patch_size=FRAMES,
        window_size=WINDOW,
        out_hidden_size=160,
        fullatt_block_indexes=[1, 3],
        initializer_range=0.05,
    )
    ids = {"image_token_id": PAD, "vision_start_token_id": START, "vision_end_token_id": END}
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        video_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
        **{key: tokenizer.convert_tokens_to_ids(one) for key, one in ids.items()},
        **special,
    )

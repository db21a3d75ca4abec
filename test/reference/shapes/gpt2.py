"""The untrained small GPT-2 with an image prefix: a LLaVA whose text model is GPT-2.

The text starts with the image and has no start token, as GPT-2 has none. Text positions
are learned, and the linear layers of the decoder are stored transposed (Conv1D).
"""

from pathlib import Path

from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    GenerationConfig,
    GPT2Config,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from .byte_vocabulary import as_fast, byte_level
from .family import Family, Row, corpus, decode_with_prefix, set_half, tidy_tokenizer_config
from .pool import CROP_SIDE
from .vocabulary import IMAGE_TOKEN

PATCH_SIZE = 12
FEATURES = (CROP_SIDE // PATCH_SIZE) ** 2
PROMPT = "\nQuestion: {question} Answer:"
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if message.role == 'assistant' -%}
{{- ' ' -}}
{%- endif -%}
{%- if message.content is string -%}
{{- message.content if message.role == 'assistant' else '\\nQuestion: ' + message.content + ' Answer:' -}}
{%- else -%}
{%- for part in message.content if part.type == 'image' -%}
{{- '<image>' -}}
{%- endfor -%}
{%- for part in message.content if part.type == 'text' -%}
{{- '\\nQuestion: ' + part.text + ' Answer:' -}}
{%- endfor -%}
{%- endif -%}
{{- eos_token if message.role == 'assistant' -}}
{%- endfor -%}
"""


class Gpt2(Family):
    name = "gpt2-shapes"
    cut = "crop"
    image_side = CROP_SIDE
    length = 40
    rate = 1.2e-3

    def __init__(self) -> None:
        tokenizer = byte_level(corpus(["\nQuestion:", " Answer:"]), 200, ["<|endoftext|>"], bos=None, eos=None)
        self.tokenizer = as_fast(
            tokenizer,
            bos_token="<|endoftext|>",
            eos_token="<|endoftext|>",
            unk_token="<|endoftext|>",
            pad_token="<|endoftext|>",
            padding_side="left",
            chat_template=CHAT_TEMPLATE,
        )
        image_processor = CLIPImageProcessorPil(
            size={"shortest_edge": CROP_SIDE}, crop_size={"height": CROP_SIDE, "width": CROP_SIDE}
        )
        self.image_mean, self.image_std = image_processor.image_mean, image_processor.image_std
        self.processor = LlavaProcessor(
            image_processor=image_processor,
            tokenizer=self.tokenizer,
            patch_size=PATCH_SIZE,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            image_token=IMAGE_TOKEN,
            chat_template=CHAT_TEMPLATE,
        )
        special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
        vision = CLIPVisionConfig(
            image_size=CROP_SIDE,
            patch_size=PATCH_SIZE,
            hidden_size=96,
            intermediate_size=232,
            num_hidden_layers=5,
            num_attention_heads=6,
            projection_dim=40,
        )
        text = GPT2Config(
            vocab_size=464,
            n_positions=136,
            n_embd=160,
            n_inner=432,
            n_layer=4,
            n_head=5,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            initializer_range=0.05,
            tie_word_embeddings=False,
            **special,
        )
        assert len(self.tokenizer) <= text.vocab_size
        config = LlavaConfig(
            vision_config=vision,
            text_config=text,
            image_token_index=self.tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
            image_seq_length=FEATURES,
            vision_feature_layer=-2,
            vision_feature_select_strategy="default",
            tie_word_embeddings=False,
            **special,
        )
        self.model = LlavaForConditionalGeneration(config)
        self.model.generation_config = GenerationConfig(do_sample=False, **special)

    def rows(self, question: str, answer: str) -> list[Row]:
        asked = self.tokenizer(PROMPT.format(question=question))["input_ids"]
        given = self.tokenizer(f" {answer}<|endoftext|>")["input_ids"]
        return [(asked + given, [False] * len(asked) + [True] * len(given))]

    def answer_logits(self, pixels, ids, learned):
        parts = self.model.model
        tower = parts.vision_tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        prefix = parts.multi_modal_projector(tower).repeat_interleave(ids[0].shape[1], 0)
        return [
            decode_with_prefix(
                parts.language_model,
                parts.get_input_embeddings(),
                self.model.lm_head,
                [prefix],
                ids[0].flatten(0, 1),
                learned[0].flatten(0, 1),
            )
        ]

    def save(self, folder: Path) -> None:
        set_half(self.model.config.text_config, self.model.config.vision_config)
        self.model.half().save_pretrained(folder)
        self.processor.save_pretrained(folder)
        self.processor.image_processor.save_pretrained(folder)
        tidy_tokenizer_config(folder)

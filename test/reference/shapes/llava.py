"""The untrained small LLaVA: configuration, processor and prompt.

Nothing here equals LLaVA 1.5's own geometry, nor one side of it another's: a converter
that assumes 576 features, layer -2, head size = hidden size / heads, or as many
embedding rows as tokens, fails on this model.
"""

from pathlib import Path

from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from .family import set_half, tidy_tokenizer_config
from .vocabulary import IMAGE_TOKEN, build_tokenizer

IMAGE_SIZE = 72
PATCH_SIZE = 8
FEATURES = (IMAGE_SIZE // PATCH_SIZE) ** 2
# The token embedding is padded beyond the tokenizer, as published checkpoints do.
EMBEDDING_ROWS = 480

PROMPT = "USER: " + IMAGE_TOKEN + "\n{question} ASSISTANT:"
NEXT_TURN = "USER: {question} ASSISTANT:"
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if message.role == 'assistant' -%}
{{- 'ASSISTANT: ' -}}
{%- elif message.role == 'user' -%}
{{- 'USER: ' -}}
{%- endif -%}
{%- if message.content is string -%}
{{- message.content -}}
{%- else -%}
{%- for part in message.content if part.type == 'image' -%}
{{- '<image>\\n' -}}
{%- endfor -%}
{%- for part in message.content if part.type == 'text' -%}
{{- part.text -}}
{%- endfor -%}
{%- endif -%}
{{- eos_token if message.role == 'assistant' else ' ' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- 'ASSISTANT:' -}}
{%- endif -%}
"""


def build_processor() -> LlavaProcessor:
    tokenizer = build_tokenizer(
        [PROMPT.format(question="").replace(IMAGE_TOKEN, "").replace("\n", ""), NEXT_TURN.format(question="")] * 1000,
        chat_template=CHAT_TEMPLATE,
    )
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": IMAGE_SIZE},
            crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        ),
        tokenizer=tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token=IMAGE_TOKEN,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    assert len(tokenizer) <= EMBEDDING_ROWS
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = CLIPVisionConfig(
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=5,
        num_attention_heads=3,
        projection_dim=64,
    )
    text = LlamaConfig(
        vocab_size=EMBEDDING_ROWS,
        hidden_size=192,
        intermediate_size=320,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=48,
        max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": 50000.0},
        rms_norm_eps=1e-5,
        initializer_range=0.05,  # the default 0.02 suits far wider layers
        tie_word_embeddings=False,
        **special,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        image_seq_length=FEATURES,
        vision_feature_layer=-3,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
        **special,
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config = GenerationConfig(do_sample=False, **special)
    return model


def save(model: LlavaForConditionalGeneration, processor: LlavaProcessor, folder: Path) -> None:
    """Writes the checkpoint in float16, with every file a published LLaVA has."""
    set_half(model.config.text_config, model.config.vision_config)
    model.half().save_pretrained(folder)
    processor.save_pretrained(folder)
    # Readers from before the processor file held everything look for this one.
    processor.image_processor.save_pretrained(folder)
    tidy_tokenizer_config(folder)

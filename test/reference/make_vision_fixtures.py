"""Tiny random BLIP-2 and SigLIP-LLaVA models of odd geometry and what transformers computes for them.

    python test/reference/make_vision_fixtures.py [CASE ...]

Writes test/fixtures/parity/CASE; parity.py says what is in there. Needs torch and transformers.
"""

import sys

import parity
import torch
from transformers import (Blip2Config, Blip2ForConditionalGeneration, CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, MistralConfig,
                          OPTConfig, Qwen2Config, SiglipVisionConfig)


def blip2(text=None, vision=None, queries=None, **changes):
    base_text = dict(hidden_size=28, num_hidden_layers=2, num_attention_heads=4, ffn_dim=44, vocab_size=83, max_position_embeddings=71, word_embed_proj_dim=28,
                     pad_token_id=1, bos_token_id=2, eos_token_id=2)
    base_vision = dict(hidden_size=30, intermediate_size=46, num_hidden_layers=3, num_attention_heads=5, image_size=26, patch_size=6, layer_norm_eps=1e-6)
    base_queries = dict(hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=38, vocab_size=40)
    return Blip2Config(text_config=OPTConfig(**{**base_text, **(text or {})}).to_dict(), vision_config={**base_vision, **(vision or {})},
                       qformer_config={**base_queries, **(queries or {})}, **{**dict(num_query_tokens=5, image_token_index=82), **changes})


IDS = dict(pad_token_id=0, bos_token_id=1, eos_token_id=2)


def siglip_llava():
    text = LlamaConfig(hidden_size=32, intermediate_size=42, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=79,
                       max_position_embeddings=256, rms_norm_eps=1e-5, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    vision = SiglipVisionConfig(hidden_size=28, intermediate_size=38, num_hidden_layers=3, num_attention_heads=4, image_size=23, patch_size=7, vision_use_head=False)
    return LlavaConfig(text_config=text, vision_config=vision, image_token_index=78, vision_feature_layer=-2, vision_feature_select_strategy="full")


def siglip_edge():
    text = LlamaConfig(hidden_size=30, intermediate_size=44, num_hidden_layers=2, num_attention_heads=5, num_key_value_heads=5, head_dim=6, vocab_size=71,
                       max_position_embeddings=128, tie_word_embeddings=True, **IDS)
    vision = SiglipVisionConfig(hidden_size=36, intermediate_size=50, num_hidden_layers=4, num_attention_heads=3, image_size=26, patch_size=5,
                                hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-5, vision_use_head=False)
    return LlavaConfig(text_config=text, vision_config=vision, image_token_index=70, vision_feature_layer=-1, vision_feature_select_strategy="full",
                       projector_hidden_act="gelu", multimodal_projector_bias=False)


def clip(**changes):
    base = dict(hidden_size=24, intermediate_size=38, num_hidden_layers=3, num_attention_heads=3, image_size=20, patch_size=7, projection_dim=16)
    return CLIPVisionConfig(**{**base, **changes})


def llava_with(text, **changes):
    return LlavaConfig(text_config=text, vision_config=clip(), image_token_index=text.vocab_size - 1, **changes)


CASES = {
    "blip2_opt": blip2(),
    # Cross-attention in every third layer, no bias on q, k, v, post-norm OPT.
    "blip2_sparse": blip2(text=dict(do_layer_norm_before=False, num_attention_heads=2), queries=dict(cross_attention_frequency=3, num_hidden_layers=4),
                          vision=dict(qkv_bias=False, image_size=21, patch_size=7, num_attention_heads=3), num_query_tokens=7),
    "llava_siglip": siglip_llava(),
    "llava_siglip_edge": siglip_edge(),
    "llava_qwen2": llava_with(Qwen2Config(hidden_size=36, intermediate_size=46, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2, vocab_size=83,
                                          max_position_embeddings=128, **IDS)),
    # Its window is shorter than picture and question.
    "llava_mistral": llava_with(MistralConfig(hidden_size=32, intermediate_size=54, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=1, head_dim=10,
                                              vocab_size=77, max_position_embeddings=128, sliding_window=9, **IDS)),
}


def make(name, config):
    torch.manual_seed(sum(name.encode()))
    is_blip2 = isinstance(config, Blip2Config)
    model = (Blip2ForConditionalGeneration if is_blip2 else LlavaForConditionalGeneration)(config).float().eval()
    parity.randomise(model)
    model.tie_weights()
    model = parity.reseeded(model, name)
    parity.plain_generation(model)
    if is_blip2:
        parity.plain_generation(model.language_model)
    size = config.vision_config.image_size
    pixels = torch.randn(3, 3, size, size)
    with torch.no_grad():
        visual = model.get_image_features(pixel_values=pixels).pooler_output
    visual = visual if torch.is_tensor(visual) else torch.stack(list(visual))
    placement = dict(image_token=config.image_token_index, features=visual.shape[1], front=is_blip2)
    reference = parity.record(model, config.text_config.vocab_size, pixels, **placement)
    parity.write_reference(parity.OUT / name, {"pixel_values": pixels, "visual": visual, **reference})


for case in sys.argv[1:] or CASES:
    make(case, CASES[case])

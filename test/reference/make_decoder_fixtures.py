"""Tiny random models of the text families of odd geometry and what transformers computes for them.

    python test/reference/make_decoder_fixtures.py [CASE ...]

Writes test/fixtures/parity/CASE; parity.py says what is in there. Needs torch and transformers.
"""

import sys

import parity
import torch
from transformers import (AutoModelForCausalLM, Gemma2Config, Gemma3TextConfig, GemmaConfig, GPT2Config, LlamaConfig, MistralConfig, OPTConfig, Phi3Config,
                          Qwen2Config, Qwen3Config, SmolLM3Config)

IDS = dict(pad_token_id=0, bos_token_id=1, eos_token_id=2)


def opt(**changes):
    base = dict(hidden_size=40, num_hidden_layers=3, num_attention_heads=5, ffn_dim=52, vocab_size=113, max_position_embeddings=67, word_embed_proj_dim=40,
                **{**IDS, "pad_token_id": 1})
    return OPTConfig(**{**base, **changes})


def gpt2(**changes):
    return GPT2Config(**{**dict(n_embd=42, n_layer=3, n_head=6, vocab_size=97, n_positions=61, **IDS), **changes})


def qwen2(**changes):
    base = dict(hidden_size=40, intermediate_size=58, num_hidden_layers=3, num_attention_heads=5, num_key_value_heads=1, vocab_size=109,
                max_position_embeddings=128, rms_norm_eps=1e-6, rope_parameters={"rope_type": "default", "rope_theta": 30000.0}, **IDS)
    return Qwen2Config(**{**base, **changes})


def mistral(**changes):
    base = dict(hidden_size=44, intermediate_size=54, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=14, vocab_size=101,
                max_position_embeddings=96, rms_norm_eps=1e-5, sliding_window=None, **IDS)
    return MistralConfig(**{**base, **changes})


def llama(**changes):
    base = dict(hidden_size=36, intermediate_size=50, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=3, head_dim=10, vocab_size=103,
                max_position_embeddings=7, rms_norm_eps=1e-5, rope_parameters={"rope_type": "dynamic", "factor": 3.0, "rope_theta": 10000.0}, **IDS)
    return LlamaConfig(**{**base, **changes})


def qwen3(**changes):
    base = dict(hidden_size=36, intermediate_size=50, num_hidden_layers=3, num_attention_heads=5, num_key_value_heads=1, head_dim=10, vocab_size=107,
                max_position_embeddings=128, rms_norm_eps=1e-6, rope_parameters={"rope_type": "default", "rope_theta": 30000.0}, **IDS)
    return Qwen3Config(**{**base, **changes})


GEMMA = dict(hidden_size=40, intermediate_size=54, num_hidden_layers=4, num_attention_heads=5, num_key_value_heads=1, head_dim=14, vocab_size=103,
             max_position_embeddings=128, rms_norm_eps=1e-5, **IDS)


def gemma(**changes):
    return GemmaConfig(**{**GEMMA, "num_hidden_layers": 2, **changes})


def gemma2(**changes):
    """Caps that scores and logits of these sizes come near."""
    return Gemma2Config(**{**GEMMA, "sliding_window": 5, "query_pre_attn_scalar": 21, "attn_logit_softcapping": 2.5, "final_logit_softcapping": 3.0, **changes})


def gemma3(**changes):
    ropes = {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 40000.0}, "sliding_attention": {"rope_type": "default", "rope_theta": 700.0}}
    return Gemma3TextConfig(**{**GEMMA, "num_hidden_layers": 7, "intermediate_size": 34, "sliding_window": 4, "query_pre_attn_scalar": 17, "rope_parameters": ropes, **changes})


def smollm3(**changes):
    base = dict(hidden_size=40, intermediate_size=58, num_hidden_layers=5, num_attention_heads=5, num_key_value_heads=1, vocab_size=109,
                max_position_embeddings=128, rms_norm_eps=1e-6, rope_parameters={"rope_type": "default", "rope_theta": 30000.0}, **IDS)
    return SmolLM3Config(**{**base, **changes})


def phi3(**changes):
    base = dict(hidden_size=40, intermediate_size=54, num_hidden_layers=3, num_attention_heads=5, num_key_value_heads=1, vocab_size=101,
                max_position_embeddings=64, original_max_position_embeddings=64, rms_norm_eps=1e-5, sliding_window=None, **IDS)
    return Phi3Config(**{**base, **changes})


CASES = {
    "opt_pre": opt(),
    "opt_proj": opt(word_embed_proj_dim=24, do_layer_norm_before=False, num_attention_heads=4, vocab_size=89, ffn_dim=76),
    "opt_untied": opt(hidden_size=36, word_embed_proj_dim=36, num_attention_heads=3, activation_function="gelu", tie_word_embeddings=False, num_hidden_layers=2),
    "gpt2_usual": gpt2(),
    "gpt2_inner": gpt2(n_embd=40, n_head=4, n_inner=55, n_layer=4, activation_function="gelu", layer_norm_epsilon=1e-3, vocab_size=83),
    "qwen2_mqa": qwen2(),
    "qwen2_tied": qwen2(hidden_size=48, num_attention_heads=6, num_key_value_heads=2, tie_word_embeddings=True, vocab_size=91, num_hidden_layers=2),
    "mistral_gqa": mistral(),
    "mistral_window": mistral(hidden_size=36, num_attention_heads=6, num_key_value_heads=3, head_dim=8, sliding_window=96, num_hidden_layers=2),
    # Windows shorter than a prompt, and than each of them.
    "mistral_slides": mistral(sliding_window=7),
    "mistral_narrow": mistral(hidden_size=36, num_attention_heads=6, num_key_value_heads=1, head_dim=10, sliding_window=2, num_hidden_layers=2, vocab_size=73),
    # Trained for 7 positions: prompts of 5 and 3 cross them while answering, one of 9 before.
    "llama_dynamic": llama(),
    "llama_dynamic_factor": llama(num_key_value_heads=6, hidden_size=42, head_dim=8, max_position_embeddings=11, vocab_size=79, num_hidden_layers=2,
                                  rope_parameters={"rope_type": "dynamic", "factor": 1.5, "rope_theta": 500.0}),
    "qwen3_mqa": qwen3(),
    # The last two of three layers see a window.
    "qwen3_window": qwen3(hidden_size=44, num_attention_heads=6, num_key_value_heads=3, head_dim=8, tie_word_embeddings=True, vocab_size=91,
                          use_sliding_window=True, sliding_window=6, max_window_layers=1, attention_bias=True),
    "gemma_mqa": gemma(),
    "gemma_gqa": gemma(hidden_size=36, num_attention_heads=6, num_key_value_heads=3, head_dim=10, vocab_size=89, hidden_act="gelu_pytorch_tanh", num_hidden_layers=3),
    "gemma2_caps": gemma2(),
    "gemma2_plain": gemma2(hidden_size=36, num_attention_heads=6, num_key_value_heads=2, head_dim=8, sliding_window=3, attn_logit_softcapping=None,
                           final_logit_softcapping=None, num_hidden_layers=3, vocab_size=83),
    # Five layers with a window, one without, one with.
    "gemma3_pattern": gemma3(),
    "gemma3_types": gemma3(hidden_size=36, num_attention_heads=6, num_key_value_heads=3, head_dim=10, sliding_window=6, num_hidden_layers=3, vocab_size=97,
                           layer_types=["full_attention", "sliding_attention", "full_attention"], final_logit_softcapping=4.0, attn_logit_softcapping=None,
                           rope_parameters={"full_attention": {"rope_type": "default", "rope_theta": 90000.0}, "sliding_attention": {"rope_type": "default", "rope_theta": 900.0}}),
    # Every fourth layer counts no positions.
    "smollm3_nope": smollm3(),
    "smollm3_window": smollm3(hidden_size=48, num_attention_heads=6, num_key_value_heads=2, num_hidden_layers=3, vocab_size=93, no_rope_layers=[0, 1, 0],
                              use_sliding_window=True, sliding_window=5, tie_word_embeddings=False),
    "phi3_window": phi3(sliding_window=6),
    # Three of six pairs are rotated. Every prompt is longer than the first length: transformers computes Phi-3's cache again where an answer passes it.
    "phi3_longrope": phi3(hidden_size=60, num_attention_heads=5, num_key_value_heads=5, max_position_embeddings=48, original_max_position_embeddings=2, vocab_size=87,
                          rope_parameters={"rope_type": "longrope", "rope_theta": 10000.0, "factor": 1.5, "partial_rotary_factor": 0.5, "short_factor": [1.0, 1.1, 1.25],
                                           "long_factor": [1.5, 2.75, 5.5], "original_max_position_embeddings": 2}),
}


def make(name, config):
    torch.manual_seed(sum(name.encode()))
    # The other implementation of attention leaves soft-caps out.
    usual = "eager" if config.model_type.startswith("gemma") else None
    model = AutoModelForCausalLM.from_config(config, attn_implementation=usual).float().eval()
    parity.randomise(model)
    if config.model_type.startswith("gemma"):
        for tensor, p in model.named_parameters():
            # Stored less one; word vectors small, or a tied model repeats its last word.
            if "norm" in tensor:
                p.data -= 1
            if "embed" in tensor:
                p.data *= 0.3
    model.tie_weights()
    model = parity.reseeded(model, name)
    parity.plain_generation(model)
    parity.write_reference(parity.OUT / name, parity.record(model, config.vocab_size))


for case in sys.argv[1:] or CASES:
    make(case, CASES[case])

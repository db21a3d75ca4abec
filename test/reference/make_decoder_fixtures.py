"""Tiny random OPT, GPT-2, Qwen2, Mistral and scaled LLaMA models of odd geometry and what transformers computes for them.

    python test/reference/make_decoder_fixtures.py [CASE ...]

Writes test/fixtures/parity/CASE; parity.py says what is in there. Needs torch and transformers.
"""

import sys

import parity
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MistralConfig, OPTConfig, Qwen2Config

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
}


def make(name, config):
    torch.manual_seed(sum(name.encode()))
    model = AutoModelForCausalLM.from_config(config).float().eval()
    parity.randomise(model)
    model.tie_weights()
    model = parity.reseeded(model, name)
    parity.plain_generation(model)
    parity.write_reference(parity.OUT / name, parity.record(model, config.vocab_size))


for case in sys.argv[1:] or CASES:
    make(case, CASES[case])

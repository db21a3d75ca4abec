"""Tiny random models with scaled rotary positions and what transformers computes for them.

    python test/reference/make_rope_fixtures.py [CASE ...]

Writes test/fixtures/parity/CASE/{config.json, weights.json, reference.safetensors}; parity.py says what the reference holds,
seeded.py how the tests make the weights. Needs torch and transformers.
"""

import sys

import parity
import seeded
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config

BASE = dict(hidden_size=36, intermediate_size=50, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=3, head_dim=10, vocab_size=103,
            max_position_embeddings=96, rms_norm_eps=1e-5, pad_token_id=0, bos_token_id=1, eos_token_id=2)


def model(config, rope, **changes):
    return config(**{**BASE, **changes, "rope_parameters": {"rope_theta": 10000.0, **rope}})


CASES = {
    "rope_llama_yarn": model(LlamaConfig, {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 24}),
    # Both temperatures, a ramp that begins and ends within pairs.
    "rope_llama_yarn_scaled": model(
        LlamaConfig, {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 12, "beta_fast": 2.5, "beta_slow": 0.3, "mscale": 0.9,
                      "mscale_all_dim": 0.7, "truncate": False, "rope_theta": 700.0}, head_dim=14, num_key_value_heads=2, vocab_size=89),
    # As Qwen2.5: the trained length is also max_position_embeddings.
    "rope_qwen2_yarn": model(Qwen2Config, {"rope_type": "yarn", "factor": 3.0, "original_max_position_embeddings": 13}, hidden_size=40, head_dim=8,
                             num_attention_heads=5, num_key_value_heads=1, max_position_embeddings=13, num_hidden_layers=2),
    # Prompts of 5 and 3 pass the 7th position while they are answered, one of 9 before.
    "rope_llama_longrope": model(LlamaConfig, {"rope_type": "longrope", "original_max_position_embeddings": 7, "short_factor": [1.0, 1.1, 1.3, 1.0, 2.0],
                                               "long_factor": [1.0, 2.5, 4.0, 7.5, 11.0]}),
    "rope_mistral_longrope": model(
        MistralConfig, {"rope_type": "longrope", "factor": 6.0, "attention_factor": 1.25, "original_max_position_embeddings": 11,
                        "short_factor": [1.0, 1.05, 1.2, 1.0, 1.5, 3.0, 2.0], "long_factor": [1.5, 1.0, 3.0, 5.0, 9.0, 12.0, 20.0]},
        head_dim=14, num_attention_heads=4, num_key_value_heads=2, sliding_window=None, num_hidden_layers=2, vocab_size=79),
}


def make(name, config):
    torch.manual_seed(sum(name.encode()))
    folder = parity.OUT / name
    AutoModelForCausalLM.from_config(config).half().save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    seeded.reseed(folder, sum(name.encode()), 1.25, "F16")
    made = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    parity.plain_generation(made)
    parity.write_reference(folder, parity.record(made, config.vocab_size))


for case in sys.argv[1:] or CASES:
    make(case, CASES[case])

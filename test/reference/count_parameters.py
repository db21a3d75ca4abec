"""Counts the parameters of every file in configs/models as transformers builds them, on the meta device (no memory).

    python test/reference/count_parameters.py

Prints `name count`, to be compared with `parameters` there. Tied tensors count once;
T5 v1.1's lm_head is not tied. VILA's three folders and the two
directories of LLaVA's own repository are counted part by part; the pooling head of SigLIP, which nothing reads, is left out.
"""

import sys
from pathlib import Path

import torch
import transformers
import yaml

MODELS = Path(__file__).parents[2] / "configs" / "models"


def count(module):
    return sum(p.numel() for p in module.parameters())


def build(class_name, config):
    if class_name == "InternLM2ForCausalLM":
        # No class of transformers; its mathematics and sizes are LLaMA's.
        class_name, config = "LlamaForCausalLM", {**config, "attention_bias": config["bias"], "model_type": "llama"}
    cls = getattr(transformers, class_name)
    config = {k: v for k, v in config.items() if k not in ("architectures", "torch_dtype", "image_processor_cfg", "processor_cfg")}
    model = cls(cls.config_class.from_dict(config))
    model.tie_weights()
    return model


def tower(config):
    name = "CLIPVisionModel" if config["model_type"] == "clip_vision_model" else "SiglipVisionModel"
    return build(name, {**config, "vision_use_head": False} if name == "SiglipVisionModel" else config)


def projector(kind, vision, hidden):
    if kind == "linear":
        return torch.nn.Linear(vision, hidden)
    if kind == "mlp2x_gelu":
        return torch.nn.Sequential(torch.nn.Linear(vision, hidden), torch.nn.GELU(), torch.nn.Linear(hidden, hidden))
    assert kind == "mlp_downsample", kind
    layers = [torch.nn.LayerNorm(4 * vision), torch.nn.Linear(4 * vision, hidden), torch.nn.Linear(hidden, hidden)]
    return torch.nn.Sequential(*layers)


def untied_head(text):
    """T5 v1.1 stores a lm_head of its own, which transformers 5 ties all the same when it builds a model without weights."""
    untied = text.get("model_type") == "t5" and not text["tie_word_embeddings"]
    return text["vocab_size"] * text["d_model"] if untied else 0


def total(config):
    name = config["architectures"][0]
    if not name.startswith("LlavaLlama"):
        return count(build(name, config)) + untied_head(config.get("text_config", config))
    text = config.get("llm_cfg", config)
    kind = config.get("mm_projector_cfg", config)["mm_projector_type"]
    llama = {k: v for k, v in text.items() if not k.startswith("mm_") and k != "vision_tower_cfg"}
    parts = [
        build("LlamaForCausalLM", {**llama, "model_type": "llama"}),
        tower(config["vision_tower_cfg"]),
        projector(kind, config["vision_tower_cfg"]["hidden_size"], text["hidden_size"]),
    ]
    return sum(count(part) for part in parts)


with torch.device("meta"):
    for path in sorted(MODELS.glob("*.yaml")):
        model = yaml.safe_load(path.read_text())
        counted = total(model["config"])
        print(model["name"], counted, "" if counted == model["parameters"] else f"file says {model['parameters']}")
        sys.stdout.flush()

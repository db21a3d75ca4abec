"""The least a converter in Python can do: a LLaMA's tensors under TensorRT-LLM's names, one file a rank, synced.

usage: minimal_convert.py MODEL_DIR OUTPUT_DIR TP_SIZE [DTYPE]
safetensors and torch alone: the floor of every converter that builds on them. No checks, no config, no tokenizer.
"""

import glob
import json
import os
import sys

import torch
from safetensors import safe_open
from safetensors.torch import save_file

source, output, tp = sys.argv[1], sys.argv[2], int(sys.argv[3])
dtype = getattr(torch, sys.argv[4]) if len(sys.argv) > 4 else None
with open(f"{source}/config.json", encoding="utf-8") as file:
    layers = json.load(file)["num_hidden_layers"]

tensors = {}
for path in sorted(glob.glob(f"{source}/*.safetensors")):
    with safe_open(path, "pt") as file:
        for name in file.keys():
            tensors[name] = file.get_tensor(name)
for path in sorted(glob.glob(f"{source}/*.bin")):
    tensors.update(torch.load(path, mmap=True, weights_only=True))

os.makedirs(output)
for rank in range(tp):
    def part(name, axis):
        tensor = tensors[name]
        tensor = tensor if dtype is None else tensor.to(dtype)
        return (tensor if axis is None else tensor.chunk(tp, axis)[rank]).contiguous()

    out = {
        "transformer.vocab_embedding.weight": part("model.embed_tokens.weight", None),
        "transformer.ln_f.weight": part("model.norm.weight", None),
        "lm_head.weight": part("lm_head.weight", 0),
    }
    for layer in range(layers):
        of, to = f"model.layers.{layer}", f"transformer.layers.{layer}"
        qkv = [part(f"{of}.self_attn.{x}_proj.weight", 0) for x in "qkv"]
        out[f"{to}.attention.qkv.weight"] = torch.cat(qkv)
        out[f"{to}.attention.dense.weight"] = part(f"{of}.self_attn.o_proj.weight", 1)
        out[f"{to}.mlp.fc.weight"] = part(f"{of}.mlp.gate_proj.weight", 0)
        out[f"{to}.mlp.gate.weight"] = part(f"{of}.mlp.up_proj.weight", 0)
        out[f"{to}.mlp.proj.weight"] = part(f"{of}.mlp.down_proj.weight", 1)
        out[f"{to}.input_layernorm.weight"] = part(f"{of}.input_layernorm.weight", None)
        out[f"{to}.post_layernorm.weight"] = part(f"{of}.post_attention_layernorm.weight", None)
    path = f"{output}/rank{rank}.safetensors"
    save_file(out, path)
    with open(path, "r+b") as file:
        os.fsync(file.fileno())

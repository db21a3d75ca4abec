"""Random weights that Python and the test suite make alike, so that a fixture keeps a seed in the place of its weights.

weights.json: {"seed", "gain", "tensors": {stored name: [dtype, shape]}}. Element i of a tensor is made of the 32-bit hashes of
2i and 2i+1: the sum of their four halves is bell-shaped (Irwin-Hall), scaled to deviation 1. test/support/seeded-weights.ts is
the same arithmetic, in doubles, rounded to float32 and from there to the stored dtype.
"""

import json
import math

import numpy as np
from safetensors.numpy import load_file, save_file

DTYPES = {"F32": np.float32, "F16": np.float16}


def fnv1a(name):
    key = 0x811C9DC5
    for byte in name.encode():
        key = ((key ^ byte) * 0x01000193) & 0xFFFFFFFF
    return key


def hashes(count, key):
    """MurmurHash3's finaliser over a counter."""
    h = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(key)
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return h ^ (h >> np.uint32(16))


def values(name, shape, seed, gain):
    """Matrices keep the size of what passes through (times gain), norms are around one, biases small."""
    h = hashes(2 * math.prod(shape), fnv1a(name) ^ seed)
    halves = (h & np.uint32(0xFFFF)).astype(np.float64) + (h >> np.uint32(16)).astype(np.float64)
    bell = (halves[0::2] + halves[1::2] - 131070.0) / 65536.0 * math.sqrt(3)
    if len(shape) > 1:
        bell = bell * (gain / math.sqrt(shape[-1]))
    elif "norm" in name and name.endswith("weight"):
        bell = bell * 0.2 + 1.0
    else:
        bell = bell * 0.1
    return bell.astype(np.float32).reshape(shape)


def reseed(folder, seed, gain, dtype):
    """Gives the checkpoint that `save_pretrained` left in `folder` seeded weights, and writes weights.json."""
    shapes = {name: list(value.shape) for name, value in load_file(folder / "model.safetensors").items()}
    tensors = {name: values(name, shape, seed, gain).astype(DTYPES[dtype]) for name, shape in sorted(shapes.items())}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps([dtype, shapes[name]])}" for name in tensors)
    text = f'{{\n  "seed": {seed},\n  "gain": {gain},\n  "tensors": {{\n{lines}\n  }}\n}}\n'
    (folder / "weights.json").write_text(text)

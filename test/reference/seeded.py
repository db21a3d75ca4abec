"""Random weights that Python and the test suite make alike, so that a fixture keeps a seed in the place of its weights.

weights.json: {"seed", "tensors": {stored name: [dtype, shape, deviation, mean]}}. Element i of a tensor is made of the 32-bit
hashes of 2i and 2i+1: the sum of their four halves is bell-shaped (Irwin-Hall), of deviation 1 before it is scaled.
test/support/seeded-weights.ts is the same arithmetic, in doubles, rounded to float32 and from there to the stored dtype.
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


def values(name, shape, seed, deviation, mean):
    h = hashes(2 * math.prod(shape), fnv1a(name) ^ seed)
    halves = (h & np.uint32(0xFFFF)).astype(np.float64) + (h >> np.uint32(16)).astype(np.float64)
    bell = (halves[0::2] + halves[1::2] - 131070.0) / 65536.0 * math.sqrt(3)
    return (bell * deviation + mean).astype(np.float32).reshape(shape)


def usual(name, shape, gain):
    """Deviation and mean: matrices keep the size of what passes through (times gain), norms are around one, biases small."""
    if len(shape) > 1:
        return gain / math.sqrt(shape[-1]), 0
    return (0.2, 1) if "norm" in name and name.endswith("weight") else (0.1, 0)


def reseed(folder, seed, gain, dtype):
    """Gives the checkpoint that `save_pretrained` left in `folder` seeded weights of usual sizes, and writes weights.json."""
    stored = load_file(folder / "model.safetensors")
    write(folder, seed, {name: [dtype, list(x.shape), *usual(name, x.shape, gain)] for name, x in stored.items()})


def reseed_alike(folder, seed):
    """The same, where each tensor keeps its own deviation and mean: what was made larger or smaller stays so."""
    stored = load_file(folder / "model.safetensors")
    short = {np.dtype(kind): name for name, kind in DTYPES.items()}
    size = lambda x: (float(f"{x.astype(np.float64).std():.5g}"), round(float(x.astype(np.float64).mean())) if x.ndim == 1 else 0)
    write(folder, seed, {name: [short[x.dtype], list(x.shape), *size(x)] for name, x in stored.items()})


def write(folder, seed, entries):
    entries = dict(sorted(entries.items()))
    tensors = {name: values(name, shape, seed, deviation, mean).astype(DTYPES[dtype]) for name, (dtype, shape, deviation, mean) in entries.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items())
    (folder / "weights.json").write_text(f'{{\n  "seed": {seed},\n  "tensors": {{\n{lines}\n  }}\n}}\n')

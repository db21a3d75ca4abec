"""Shortens the float16 weights of a trained model to 6 bits of mantissa (or --bits), so that they can be packed.

    PYTHONPATH=test/reference python -m shapes.shorten MODEL_DIR
    npx tsx test/support/pack-weights.ts MODEL_DIR
    PYTHONPATH=test/reference python -m shapes.check MODEL_DIR

With 6 bits every weight stays within 0.8 % of what was trained; the trained models lose at most a
question or two by it (`shapes.check` says). Values keep their scale, unlike codes on a grid
of eight bits, which weight-only quantization would then find already made.
"""

import argparse
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

MANTISSA_BITS = 10


def shortened(values: np.ndarray, bits: int) -> np.ndarray:
    """To the nearest number of so many bits of mantissa, ties away from zero."""
    if values.dtype != np.float16:
        return values
    codes = values.view(np.uint16).astype(np.uint32)
    dropped = MANTISSA_BITS - bits
    codes = (codes + (1 << (dropped - 1))) >> dropped << dropped
    return codes.astype(np.uint16).view(np.float16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--bits", type=int, default=6, choices=range(1, MANTISSA_BITS))
    options = parser.parse_args()
    for path in sorted(options.model.rglob("model.safetensors")):
        with safe_open(path, "np") as stored:
            tensors = {name: shortened(stored.get_tensor(name), options.bits) for name in stored.keys()}
            metadata = stored.metadata()
        save_file(tensors, path, metadata=metadata)


if __name__ == "__main__":
    main()

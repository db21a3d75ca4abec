"""Shortens the float16 weights of a trained model to 6 bits of mantissa, so that they can be packed.

    PYTHONPATH=test/reference python -m shapes.shorten MODEL_DIR
    npx tsx test/support/pack-weights.ts MODEL_DIR
    PYTHONPATH=test/reference python -m shapes.check MODEL_DIR

Every weight stays within 0.8 % of what was trained; the trained models lose at most a
question or two by it (`shapes.check` says). Values keep their scale, unlike codes on a grid
of eight bits, which weight-only quantization would then find already made.
"""

import argparse
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

DROPPED_BITS = 4


def shortened(values: np.ndarray) -> np.ndarray:
    """To the nearest multiple of 2^4 units in the last place, ties away from zero."""
    if values.dtype != np.float16:
        return values
    codes = values.view(np.uint16).astype(np.uint32)
    codes = (codes + (1 << (DROPPED_BITS - 1))) >> DROPPED_BITS << DROPPED_BITS
    return codes.astype(np.uint16).view(np.float16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    for path in sorted(parser.parse_args().model.rglob("model.safetensors")):
        with safe_open(path, "np") as stored:
            tensors = {name: shortened(stored.get_tensor(name)) for name in stored.keys()}
            metadata = stored.metadata()
        save_file(tensors, path, metadata=metadata)


if __name__ == "__main__":
    main()

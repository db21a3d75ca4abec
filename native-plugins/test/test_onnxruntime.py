"""Every plugin in ONNX Runtime's CUDA provider: the standing tests through one-node graphs (ort_harness.py).

    python native-plugins/test/test_onnxruntime.py LIB [--every N] [--part I/N] [pytest arguments]

Needs a GPU, and the packages onnxruntime-gpu (1.20 or later), onnx, torch, numpy, pytest. LIB is libmmtrt_plugins.so built with
--onnxruntime_root. `--every N` takes each N-th test of a file; 1 takes all, some minutes; `--part 0/3` is a third of
them, for processes side by side. AllReduce needs several processes and is tested by test_all_reduce.py.
"""

import argparse
import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
FILES = ["test_kernels.py", "test_matmul.py", "test_small.py", "test_gpt_attention.py"]
# What a test cannot choose here: the workspace's size, and when PyTorch captures a session's run.
NOT_HERE = ["test_the_workspace_for_many_rows_is_enough_for_fewer", "test_gemm_gives_the_same_bits_each_time_and_in_a_graph"]


class Sample:
    """Each `every`-th case of a test; of these every `parts`-th, from `part` on."""

    def __init__(self, every, part, parts):
        self.every, self.part, self.parts = every, part, parts

    def pytest_collection_modifyitems(self, items):
        seen, kept = {}, []
        for item in items:
            name = getattr(item, "originalname", item.name)
            at = seen.setdefault(name, 0)
            seen[name] += 1
            if at % self.every == 0 and name not in NOT_HERE:
                kept.append(item)
        items[:] = kept[self.part :: self.parts]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library")
    parser.add_argument("--every", type=int, default=7)
    parser.add_argument("--part", default="0/1")
    options, rest = parser.parse_known_args()
    os.environ["MMTRT_PLUGIN_LIBRARY"] = os.path.abspath(options.library)
    os.environ["MMTRT_TEST_CALLER"] = "onnxruntime"
    sys.path.insert(0, str(HERE))
    files = [] if any(not word.startswith("-") for word in rest) else [str(HERE / name) for name in FILES]
    return pytest.main(["-q", "--tb=line", "-p", "no:cacheprovider", *files, *rest], plugins=[Sample(options.every, *map(int, options.part.split("/")))])


if __name__ == "__main__":
    sys.exit(main())

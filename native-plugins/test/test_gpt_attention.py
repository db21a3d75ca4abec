"""GptAttention against float64 at odd sizes, on a GPU:

    MMTRT_PLUGIN_LIBRARY=libmmtrt_plugins.so python3 -m pytest test_gpt_attention.py

or, with a line of figures for each case and no stop at the first that fails,

    python3 test_gpt_attention.py libmmtrt_plugins.so [REGULAR_EXPRESSION]
"""

import os
import re
import sys
import time

import torch

from gpt_attention_cases import BF16, HALF, Case, cases, compare, make, replace
from harness import Library, Refused

DEVICE = "cuda"
COSINE = 0.99999
STEPS = 8


def seed_of(case):
    return sum(ord(letter) * (31**i % 65521) for i, letter in enumerate(str(case))) % (1 << 31)


def measure(plugin, case):
    """(cosine, error in steps, what is wrong)."""
    torch.manual_seed(seed_of(case))
    call = make(case, DEVICE)
    plugin(call.inputs, call.outputs, **call.attributes)
    cosine, steps, wrong = compare(call)
    if wrong is None and not (cosine >= COSINE and steps <= STEPS):
        wrong = f"needed are a cosine of {COSINE} and {STEPS} steps"
    return cosine, steps, wrong


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", cases(), ids=str)


def library():
    return Library(os.environ["MMTRT_PLUGIN_LIBRARY"])


def test_attention_over_its_cache_equals_float64(case):
    cosine, steps, wrong = measure(library()["GptAttention"], case)
    assert wrong is None, f"{wrong}: cosine {cosine:.7f}, {steps:.1f} steps"


def test_the_same_call_gives_the_same_bits():
    plugin = library()["GptAttention"]
    for case in (Case(seq=300, heads=8, dim=128, past=(0,)), Case(seq=1, past=(900,), dim=128, dtype=HALF)):
        results = []
        for _ in range(5):
            torch.manual_seed(19)
            call = make(case, DEVICE)
            plugin(call.inputs, call.outputs, **call.attributes)
            results.append(call.outputs[0])
        assert all(torch.equal(results[0], y) for y in results[1:])


REFUSALS = [
    ("a row of another width", dict(), lambda call: resize(call, 0, lambda qkv: qkv[..., :96].contiguous()), "W == num_heads"),
    ("a mask of other columns", dict(seq=3), lambda call: resize(call, 4, lambda mask: mask[:, 1:].contiguous()), "attention_mask has other columns"),
    ("codes without a scale", dict(codes=torch.int8), lambda call: resize(call, 7, lambda _: None), "without kv_scale"),
    ("cos without sin", dict(), lambda call: resize(call, 6, lambda _: None), "cos and sin come together"),
    ("a cache of another type", dict(), lambda call: resize(call, 0, lambda qkv: qkv.to(HALF if qkv.dtype is BF16 else BF16)), "dtype|16-bit"),
]


def resize(call, index, change):
    call.inputs[index] = change(call.inputs[index])


def test_calls_that_do_not_fit_are_refused_in_words():
    plugin = library()["GptAttention"]
    for what, fields, change, words in REFUSALS:
        call = make(Case(**fields), DEVICE)
        change(call)
        try:
            plugin(call.inputs, call.outputs, **call.attributes)
        except Refused as error:
            assert any(word in str(error) for word in words.split("|")), f"{what}: {error}"
        else:
            raise AssertionError(f"{what} was not refused")


def main(file, pattern=""):
    plugin = Library(file)["GptAttention"]
    started, failures = time.time(), 0
    every = [case for case in cases() if re.search(pattern, str(case))]
    for case in every:
        try:
            cosine, steps, wrong = measure(plugin, case)
        except Exception as error:  # the others still run
            cosine, steps, wrong = 0.0, float("inf"), f"{type(error).__name__}: {error}"
        failures += wrong is not None
        print(f"{'FAIL' if wrong else 'ok'} {cosine:.7f} {steps:6.2f} {case}{' : ' + wrong if wrong else ''}", flush=True)
    os.environ["MMTRT_PLUGIN_LIBRARY"] = file
    for test in (test_the_same_call_gives_the_same_bits, test_calls_that_do_not_fit_are_refused_in_words):
        try:
            test()
        except Exception as error:
            print(f"FAIL {test.__name__}: {type(error).__name__}: {error}", flush=True)
            failures += 1
    print(f"{len(every) - failures} of {len(every)} cases, {time.time() - started:.1f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

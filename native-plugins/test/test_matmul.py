"""Weight-only and 16-bit products of any number of rows against float64, on a GPU:

    MMTRT_PLUGIN_LIBRARY=libmmtrt_plugins.so python3 -m pytest -q --tb=line test_matmul.py
"""

import ctypes
import os

import pytest
import torch

from harness import Call, Int4, Library, Tensor, pack_int4, poisoned, tensor_of
from report import compare, summary

TYPES = [torch.float16, torch.bfloat16]


@pytest.fixture(scope="module")
def library():
    torch.manual_seed(19)
    yield Library(os.environ["MMTRT_PLUGIN_LIBRARY"])
    summary()


class Case:
    """A weight with its scales, and what it stands for."""

    def __init__(self, bits, k, n, group, dtype, zeros=False):
        low, high = (-8, 8) if bits == 4 else (-128, 128)
        self.group = group or k
        q = torch.randint(low, high, (k, n), device="cuda", dtype=torch.int8)
        q[0, 0], q[-1, -1] = low, high - 1
        self.scale = ((torch.rand(k // self.group, n, device="cuda") + 0.5) * 0.02).to(dtype)
        self.zero = (torch.randn(k // self.group, n, device="cuda") * 0.05).to(dtype) if zeros else None
        self.weight = Int4(pack_int4(q)) if bits == 4 else q
        self.exact = q.double() * self.scale.double().repeat_interleave(self.group, 0)
        if zeros:
            self.exact += self.zero.double().repeat_interleave(self.group, 0)


def activated(x, activation):
    z = {1: 1.5957691216057308 * (x + 0.044715 * x**3), 2: x, 3: 1.702 * x}
    if activation == 4:
        return x.relu()
    return x if activation == 0 else x * z[activation].sigmoid()


MATRICES = [
    # rows, K, N, group (0: per channel)
    (9, 16, 32, 0),
    (19, 1024, 992, 32),
    (19, 2048, 1056, 0),
    (33, 96, 288, 48),
    (40, 80, 96, 16),
    (64, 4096, 12288, 128),
    (65, 1040, 4096, 0),
    (100, 11008, 4096, 64),
    (129, 4096, 4096, 128),
    (512, 4096, 11008, 128),
    (989, 512, 160, 128),
    (989, 1088, 1056, 64),
    (2000, 256, 256, 32),
    (1, 4096, 12288, 128),
    (3, 11008, 4096, 0),
    (8, 4096, 11008, 64),
    (7, 1040, 992, 16),
    (5, 28672, 96, 128),
]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("rows,k,n,group", MATRICES)
def test_weight_only_matmul_equals_float64(library, dtype, bits, rows, k, n, group):
    case = Case(bits, k, n, group, dtype)
    x = torch.randn(rows, k, device="cuda").to(dtype)
    y = poisoned(rows, n, dtype=dtype)
    library["WeightOnlyMatmul"]([x, case.weight, case.scale], [y], group_size=case.group)
    compare(f"{dtype} int{bits} {rows}x{k}x{n} g{group}", y, x.double() @ case.exact)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("activation", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("rows,k,n,group", [(19, 1024, 992, 32), (64, 512, 1056, 128), (300, 1040, 416, 16), (77, 640, 96, 0), (1, 1024, 992, 32), (8, 2048, 160, 128)])
def test_bias_activation_zeros_and_prequant_are_fused(library, dtype, bits, activation, rows, k, n, group):
    case = Case(bits, k, n, group, dtype, zeros=True)
    x = torch.randn(rows, k, device="cuda").to(dtype)
    bias = torch.randn(n, device="cuda").to(dtype)
    prequant = (torch.rand(k, device="cuda") + 0.5).to(dtype)
    y = poisoned(rows, n, dtype=dtype)
    inputs = [x, case.weight, case.scale, bias, case.zero, prequant]
    library["WeightOnlyMatmul"](inputs, [y], group_size=case.group, activation=activation)
    scaled = (x.float() * prequant.float()).to(dtype)
    want = activated(scaled.double() @ case.exact + bias.double(), activation)
    compare(f"{dtype} int{bits} {rows}x{k}x{n} g{group} activation {activation}", y, want)


@pytest.mark.parametrize("rows", [19, 64, 300, 1, 8])
def test_weight_only_matmul_gives_the_same_bits_each_time(library, rows):
    case = Case(4, 4096, 4096, 128, torch.bfloat16)
    x = torch.randn(rows, 4096, device="cuda", dtype=torch.bfloat16)
    results = []
    for _ in range(20):
        y = poisoned(rows, 4096, dtype=torch.bfloat16)
        library["WeightOnlyMatmul"]([x, case.weight, case.scale], [y], group_size=128)
        results.append(y)
    assert all(torch.equal(results[0], y) for y in results[1:])


def test_rows_of_very_different_sizes_keep_their_digits(library):
    case = Case(8, 4096, 512, 0, torch.bfloat16)
    for rows in (40, 8, 1):
        size = torch.logspace(-30, 30, rows, device="cuda").unsqueeze(1)
        x = (torch.randn(rows, 4096, device="cuda") * size).bfloat16()
        y = poisoned(rows, 512, dtype=torch.bfloat16)
        library["WeightOnlyMatmul"]([x, case.weight, case.scale], [y], group_size=4096)
        # Row by row: in a norm of all of them the small ones would not count.
        want = x.double() @ case.exact
        compare(f"{rows} rows", y / size.bfloat16(), want / size.bfloat16().double(), ulp=3)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("prequant", [False, True])
def test_the_workspace_for_many_rows_is_enough_for_fewer(library, bits, prequant):
    plugin = library["WeightOnlyMatmul"]
    k, n = 4096, 4096
    weight = Int4(torch.empty(k, n // 2, device="cuda", dtype=torch.uint8)) if bits == 4 else torch.empty(k, n, device="cuda", dtype=torch.int8)
    scale = torch.empty(k // 128, n, device="cuda", dtype=torch.float16)
    factors = torch.empty(k, device="cuda", dtype=torch.float16)

    def size(rows):
        tensors = [torch.empty(rows, k, device="cuda", dtype=torch.float16), weight, scale] + ([None, None, factors] if prequant else [])
        ins = (Tensor * len(tensors))(*map(tensor_of, tensors))
        outs = (Tensor * 1)(tensor_of(torch.empty(rows, n, device="cuda", dtype=torch.float16)))
        packed = ctypes.create_string_buffer(int(plugin.facts.attributesBytes))
        plugin._pack(packed, {"group_size": 128})
        call = Call(inputs=ins, outputs=outs, attributes=ctypes.cast(packed, ctypes.c_void_p), nbInputs=len(tensors), nbOutputs=1)
        return plugin.facts.workspace(call)

    sizes = [size(rows) for rows in [1, 2, 4, 8, 9, 16, 32, 33, 64, 65, 127, 128, 129, 200, 256, 400, 512, 989, 2000]]
    assert sizes == sorted(sizes)


GEMMS = [
    # rows, K, N
    (1, 8, 1),
    (1, 4096, 12288),
    (1, 11008, 4096),
    (2, 72, 17),
    (3, 2056, 1001),
    (7, 4096, 4096),
    (8, 1040, 19),
    (8, 11008, 4096),
    (9, 4096, 11008),
    (16, 2048, 989),
    (17, 1040, 1000),
    (19, 264, 1001),
    (64, 4096, 4096),
    (129, 512, 33),
    (512, 4096, 11008),
    (989, 520, 136),
]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rows,k,n", GEMMS)
def test_gemm_equals_float64(library, dtype, rows, k, n):
    x, weight = torch.randn(rows, k, device="cuda").to(dtype), torch.randn(n, k, device="cuda").to(dtype)
    y = poisoned(rows, n, dtype=dtype)
    library["Gemm"]([x, weight], [y])
    compare(f"{dtype} {rows}x{k}x{n}", y, x.double() @ weight.double().t())


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("activation", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("rows,k,n", [(1, 4096, 1001), (8, 1040, 992), (16, 520, 19), (19, 1040, 1001), (300, 512, 136)])
def test_gemm_adds_the_bias_and_activates(library, dtype, activation, rows, k, n):
    x, weight = torch.randn(rows, k, device="cuda").to(dtype), (torch.randn(n, k, device="cuda") * k**-0.5).to(dtype)
    bias = torch.randn(n, device="cuda").to(dtype)
    y = poisoned(rows, n, dtype=dtype)
    library["Gemm"]([x, weight, bias], [y], activation=activation)
    want = activated(x.double() @ weight.double().t() + bias.double(), activation)
    compare(f"{dtype} {rows}x{k}x{n} activation {activation}", y, want)


@pytest.mark.parametrize("rows", [1, 8, 16, 64, 300])
def test_gemm_gives_the_same_bits_each_time_and_in_a_graph(library, rows):
    x, weight = torch.randn(rows, 4096, device="cuda").bfloat16(), torch.randn(4096, 4096, device="cuda").bfloat16()
    results = []
    for _ in range(10):
        y = poisoned(rows, 4096, dtype=torch.bfloat16)
        library["Gemm"]([x, weight], [y])
        results.append(y)
    assert all(torch.equal(results[0], y) for y in results[1:])
    y = poisoned(rows, 4096, dtype=torch.bfloat16)
    launch = library["Gemm"].prepare([x, weight], [y])
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        launch()
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(results[0], y)


def test_gemms_in_a_row_wait_for_each_other(library):
    """Each may begin beside the end of the one before, whose result it reads."""
    weights = [(torch.randn(4096, 4096, device="cuda") / 64).bfloat16() for _ in range(24)]
    rows = [torch.randn(1, 4096, device="cuda").bfloat16()] + [poisoned(1, 4096, dtype=torch.bfloat16) for _ in weights]
    launches = [library["Gemm"].prepare([rows[i], w], [rows[i + 1]]) for i, w in enumerate(weights)]
    for launch in launches:
        launch()
    torch.cuda.synchronize()
    for i, w in enumerate(weights):
        compare(f"product {i}", rows[i + 1], rows[i].double() @ w.double().t())

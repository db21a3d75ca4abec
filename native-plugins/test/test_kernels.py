"""Plugins against float64 at odd sizes, on a GPU:

    MMTRT_PLUGIN_LIBRARY=libmmtrt_plugins.so python3 -m pytest test_kernels.py

calls the kernels through the library's C interface. With MMTRT_TENSORRT_SHIM=libshim.so, made by

    g++ -shared -fPIC -I../common -I$TENSORRT_ROOT/include -I$CUDA_HOME/include tensorrt_shim.cpp -lcudart -o libshim.so

every test runs a second time through TensorRT's creators and enqueue.
"""

import os

import pytest
import torch

from harness import Int4, Library, Refused, expect_close, pack_int4, poisoned

TYPES = [torch.float16, torch.bfloat16]
COSINE = 0.99999


CALLERS = ["c"] + (["tensorrt"] if "MMTRT_TENSORRT_SHIM" in os.environ else [])


@pytest.fixture(scope="module", params=CALLERS)
def library(request):
    torch.manual_seed(19)
    return Library(os.environ["MMTRT_PLUGIN_LIBRARY"], os.environ["MMTRT_TENSORRT_SHIM"] if request.param == "tensorrt" else None)


def attention_reference(q, keys, values, lengths, scale):
    group = q.shape[1] // keys[0].shape[0]
    rows = []
    for b, n in enumerate(lengths):
        if n == 0:
            rows.append(torch.zeros_like(q[b], dtype=torch.float64))
            continue
        k = keys[b][:, :n].double().repeat_interleave(group, 0)
        v = values[b][:, :n].double().repeat_interleave(group, 0)
        scores = (k @ q[b].double().unsqueeze(-1)).squeeze(-1) * scale
        rows.append((scores.softmax(-1).unsqueeze(1) @ v).squeeze(1))
    return torch.stack(rows)


def cache(lengths, kv_heads, capacity, dim, dtype, spread):
    """Keys and values with NaN after each sequence's end."""
    shape = (len(lengths), kv_heads, capacity, dim)
    keys = (torch.randn(shape, device="cuda") * spread).to(dtype)
    values = torch.randn(shape, device="cuda").to(dtype)
    for b, n in enumerate(lengths):
        keys[b, :, n:] = float("nan")
        values[b, :, n:] = float("nan")
    return keys, values


ATTENTION = [
    # heads, kv heads, capacity, lengths
    (1, 1, 1, [1]),
    (4, 4, 19, [19, 1, 7]),
    (12, 4, 989, [989, 1, 500, 0]),
    (32, 8, 4096, [4096, 4095, 17]),
    (32, 32, 640, [640, 333]),
    (9, 3, 2048, [2048]),
    (20, 1, 300, [300, 299]),
    (16, 2, 32768, [32768, 31]),
]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("dim", [64, 80, 96, 128, 256])
@pytest.mark.parametrize("heads,kv_heads,capacity,lengths", ATTENTION)
def test_decode_attention_reads_every_token_and_none_past_the_end(library, dtype, dim, heads, kv_heads, capacity, lengths):
    q = torch.randn(len(lengths), heads, dim, device="cuda").to(dtype)
    keys, values = cache(lengths, kv_heads, capacity, dim, dtype, 2.0)
    y = poisoned(len(lengths), heads, dim, dtype=dtype)
    scale = dim**-0.5
    on_device = torch.tensor(lengths, dtype=torch.int32, device="cuda")
    library["DecodeAttention"]([q, keys, values, on_device], [y], scale=scale)
    expect_close(y, attention_reference(q, keys, values, lengths, scale), COSINE, 4)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("dim,block", [(64, 16), (80, 32), (128, 64), (128, 128)])
def test_decode_attention_finds_blocks_in_any_order(library, dtype, dim, block):
    lengths, heads, kv_heads = [989, 1, 64, 700], 16, 4
    most = max(-(-n // block) for n in lengths) + 1
    keys, values = cache(lengths, kv_heads, most * block, dim, dtype, 2.0)
    order = torch.randperm(len(lengths) * most + 3, device="cuda")[: len(lengths) * most]
    pool_k = poisoned(len(lengths) * most + 3, kv_heads, block, dim, dtype=dtype)
    pool_v = poisoned(len(lengths) * most + 3, kv_heads, block, dim, dtype=dtype)
    cut = lambda x: x.reshape(len(lengths), kv_heads, most, block, dim).transpose(1, 2).reshape(-1, kv_heads, block, dim)
    pool_k[order], pool_v[order] = cut(keys), cut(values)
    table = order.to(torch.int32).reshape(len(lengths), most)
    for b, n in enumerate(lengths):
        table[b, -(-n // block) :] = -1
    q = torch.randn(len(lengths), heads, dim, device="cuda").to(dtype)
    y = poisoned(len(lengths), heads, dim, dtype=dtype)
    on_device = torch.tensor(lengths, dtype=torch.int32, device="cuda")
    library["DecodeAttention"]([q, pool_k, pool_v, on_device, table.contiguous()], [y], scale=dim**-0.5)
    expect_close(y, attention_reference(q, keys, values, lengths, dim**-0.5), COSINE, 4)


@pytest.mark.parametrize("dtype", TYPES)
def test_decode_attention_survives_scores_that_grow_along_the_cache(library, dtype):
    """The reference of the softmax has to move again and again, by more than its slack."""
    n, dim = 1003, 128
    q = torch.ones(1, 1, dim, device="cuda", dtype=dtype)
    keys = (torch.arange(n, device="cuda") / n * 4).reshape(1, 1, n, 1).expand(1, 1, n, dim).to(dtype).contiguous()
    values = torch.randn(1, 1, n, dim, device="cuda").to(dtype)
    y = poisoned(1, 1, dim, dtype=dtype)
    library["DecodeAttention"]([q, keys, values, torch.tensor([n], dtype=torch.int32, device="cuda")], [y], scale=1.0)
    expect_close(y, attention_reference(q, keys, values, [n], 1.0), COSINE, 4)


MATRICES = [
    # rows, K, N, group (0: per channel)
    (1, 4096, 12288, 128),
    (8, 4096, 11008, 128),
    (1, 11008, 4096, 128),
    (3, 4096, 32000, 64),
    (5, 48, 32, 16),
    (7, 1024, 992, 32),
    (19, 2048, 1056, 0),
    (989, 512, 160, 128),
    (2, 11008, 96, 0),
    (1, 16, 32, 0),
]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("bias,activation", [(False, 0), (True, 1), (True, 2)])
@pytest.mark.parametrize("rows,k,n,group", MATRICES)
def test_weight_only_matmul_equals_float64(library, dtype, bits, bias, activation, rows, k, n, group):
    group = group or k
    low, high = (-8, 8) if bits == 4 else (-128, 128)
    q = torch.randint(low, high, (k, n), device="cuda", dtype=torch.int8)
    q[0, 0], q[-1, -1] = low, high - 1
    scale = ((torch.rand(k // group, n, device="cuda") + 0.5) * 0.02).to(dtype)
    x = torch.randn(rows, k, device="cuda").to(dtype)
    offset = torch.randn(n, device="cuda").to(dtype) if bias else None
    want = x.double() @ (q.double() * scale.double().repeat_interleave(group, 0))
    if bias:
        want = want + offset.double()
    if activation == 1:
        want = torch.nn.functional.gelu(want, approximate="tanh")
    if activation == 2:
        want = torch.nn.functional.silu(want)
    y = poisoned(rows, n, dtype=dtype)
    weight = Int4(pack_int4(q)) if bits == 4 else q
    inputs = [x, weight, scale] + ([offset] if bias else [])
    library["WeightOnlyMatmul"](inputs, [y], group_size=group, activation=activation)
    expect_close(y, want, COSINE, 2)


def test_weight_only_matmul_gives_the_same_bits_each_time(library):
    x = torch.randn(8, 4096, device="cuda", dtype=torch.bfloat16)
    weight = torch.randint(-128, 128, (4096, 4096), device="cuda", dtype=torch.int8)
    scale = torch.rand(32, 4096, device="cuda").to(torch.bfloat16)
    results = []
    for _ in range(20):
        y = poisoned(8, 4096, dtype=torch.bfloat16)
        library["WeightOnlyMatmul"]([x, weight, scale], [y], group_size=128)
        results.append(y)
    assert all(torch.equal(results[0], y) for y in results[1:])


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("rows,width", [(1, 8), (19, 4096), (989, 5120), (3, 992), (2, 16384)])
def test_rms_norm_equals_float64_and_hands_on_the_sum(library, dtype, residual, rows, width):
    x = (torch.randn(rows, width, device="cuda") * 3).to(dtype)
    r = torch.randn(rows, width, device="cuda").to(dtype) if residual else None
    gamma = torch.randn(width, device="cuda").to(dtype)
    y, total = poisoned(rows, width, dtype=dtype), poisoned(rows, width, dtype=dtype)
    library["RmsNorm"]([x, gamma] + ([r] if residual else []), [y, total], eps=1e-5)
    s = (x.float() + r.float()).to(dtype) if residual else x
    assert torch.equal(total, s)
    d = s.double()
    expect_close(y, d * (d.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * gamma.double(), COSINE, 2)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("batch,seq,vocab,rows,width", [(1, 1, 19, 1, 8), (3, 989, 320, 57, 992)])
def test_prompt_tuning_embedding_copies_rows_by_task(library, dtype, batch, seq, vocab, rows, width):
    per_task = rows // batch
    weight = torch.randn(vocab, width, device="cuda").to(dtype)
    table = torch.randn(rows, width, device="cuda").to(dtype)
    ids = torch.randint(0, vocab + per_task, (batch, seq), device="cuda", dtype=torch.int32)
    tasks = torch.arange(batch, device="cuda", dtype=torch.int32).reshape(batch, 1)
    size = torch.tensor([per_task], dtype=torch.int32, device="cuda")
    y = poisoned(batch, seq, width, dtype=dtype)
    library["PromptTuningEmbedding"]([ids, weight, table, tasks, size], [y])
    everything = torch.cat([weight, table])
    row = torch.where(ids < vocab, ids, ids + tasks * per_task)
    assert torch.equal(y, everything[row.long()])


def test_calls_outside_the_limits_are_refused_in_words(library):
    x = torch.randn(2, 64, device="cuda").half()
    weight = torch.zeros(64, 32, device="cuda", dtype=torch.int8)
    scale = torch.zeros(1, 32, device="cuda").half()
    y = poisoned(2, 32, dtype=torch.float16)
    matmul = library["WeightOnlyMatmul"]
    with pytest.raises(Refused, match="K == G \\* group_size"):
        matmul([x, weight, scale], [y], group_size=32)
    with pytest.raises(Refused, match="K is 32 in input 1 and 64 before it"):
        matmul([x, weight[:32].contiguous(), scale], [y], group_size=32)
    with pytest.raises(Refused, match="dtype|supported"):
        matmul([x, weight, scale.bfloat16()], [y], group_size=64)
    with pytest.raises(Refused, match="group_size is 8, allowed is 16"):
        matmul([x, weight, scale], [y], group_size=8)
    with pytest.raises(Refused, match="the input scale is missing"):
        matmul([x, weight], [y], group_size=64)

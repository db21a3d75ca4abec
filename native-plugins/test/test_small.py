"""Products of codes, norms, gated MLP, LoRA and encoder attention against float64, on a GPU:

    MMTRT_PLUGIN_LIBRARY=libmmtrt_plugins.so python3 -m pytest -q --tb=line test_small.py
"""

import os

import pytest
import torch

from harness import Library, Refused, poisoned
from report import compare, summary

TYPES = [torch.float16, torch.bfloat16]
SIZES = [(1, 4096, 12288), (8, 1040, 1000), (19, 1040, 1000), (64, 4096, 4096), (130, 11008, 264), (989, 512, 136), (3, 16, 8), (600, 4096, 4096)]


@pytest.fixture(scope="module")
def library():
    torch.manual_seed(19)
    yield Library(os.environ["MMTRT_PLUGIN_LIBRARY"])
    summary()


def codes_of(*shape):
    return torch.randint(-128, 128, shape, device="cuda", dtype=torch.int8)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rows,k,n", SIZES)
@pytest.mark.parametrize("per_channel,bias", [(True, False), (False, True)])
def test_smooth_quant_of_codes_equals_float64(library, dtype, rows, k, n, per_channel, bias):
    x, weight = codes_of(rows, k), codes_of(n, k)
    channel = torch.rand(1, n if per_channel else 1, device="cuda") * 1e-4 + 1e-5
    tokens = torch.rand(rows, 1, device="cuda") + 0.1
    offset = torch.randn(n, device="cuda").to(dtype) if bias else None
    y = poisoned(rows, n, dtype=dtype)
    library["SmoothQuantMatmul"]([x, weight, channel, offset, None, None, None, tokens], [y])
    want = (x.double() @ weight.double().t()) * channel.double() * tokens.double() + (offset.double() if bias else 0)
    compare(f"{dtype} {rows}x{k}x{n} per channel {per_channel}", y, want)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rows,k,n", SIZES)
@pytest.mark.parametrize("per_token,smooth", [(True, False), (True, True), (False, True)])
def test_smooth_quant_makes_the_codes_of_a_float_x(library, dtype, rows, k, n, per_token, smooth):
    x = torch.randn(rows, k, device="cuda").to(dtype)
    weight = codes_of(n, k)
    channel = torch.rand(1, n, device="cuda") * 1e-3
    smoother = torch.rand(1, k, device="cuda") + 0.5 if smooth else None
    input_scale = None if per_token else torch.tensor([37.0], device="cuda")
    act_scale = None if per_token else torch.tensor([[1 / 37.0]], device="cuda")
    y = poisoned(rows, n, dtype=dtype)
    library["SmoothQuantMatmul"]([x, weight, channel, None, smoother, input_scale, act_scale], [y])
    s = x.float() / smoother if smooth else x.float()
    scale = (s.abs().amax(-1, keepdim=True) / 127).clamp_min(1e-6) if per_token else torch.tensor([[1 / 37.0]], device="cuda")
    codes = (s / scale).double().round().clamp(-128, 127)
    # A code on the edge of two may go either way: one of many, by one.
    compare(f"{dtype} {rows}x{k}x{n} per token {per_token}", y, (codes @ weight.double().t()) * channel.double() * scale.double(), ulp=4)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rows,k,n", SIZES)
@pytest.mark.parametrize("given_codes", [True, False])
def test_fp8_matmul_equals_float64(library, dtype, rows, k, n, given_codes):
    weight = (torch.randn(n, k, device="cuda") * 20).to(torch.float8_e4m3fn)
    input_scale = torch.tensor([0.02], device="cuda")
    weight_scale = torch.tensor([0.001], device="cuda")
    x = torch.randn(rows, k, device="cuda").to(dtype)
    codes = (x.float() * (1 / input_scale)).clamp(-448, 448).to(torch.float8_e4m3fn)
    offset = torch.randn(n, device="cuda").to(dtype)
    y = poisoned(rows, n, dtype=dtype)
    library["Fp8Matmul"]([codes if given_codes else x, weight, input_scale, weight_scale, offset], [y])
    want = (codes.double() @ weight.double().t()) * input_scale.double() * weight_scale.double() + offset.double()
    compare(f"{dtype} {rows}x{k}x{n} codes {given_codes}", y, want)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rows,k,n", SIZES)
@pytest.mark.parametrize("activation,bias", [(2, False), (1, True)])
def test_fused_gated_mlp_equals_float64(library, dtype, rows, k, n, activation, bias):
    x = torch.randn(rows, k, device="cuda").to(dtype)
    gate, up = ((torch.randn(n, k, device="cuda") * k**-0.5).to(dtype) for _ in range(2))
    biases = [torch.randn(n, device="cuda").to(dtype) for _ in range(2)] if bias else [None, None]
    y = poisoned(rows, n, dtype=dtype)
    library["FusedGatedMlp"]([x, gate, up, *biases], [y], activation=activation)
    g, u = ((x.double() @ w.double().t()) + (0 if b is None else b.double()) for w, b in zip([gate, up], biases))
    act = torch.nn.functional.silu(g) if activation == 2 else torch.nn.functional.gelu(g, approximate="tanh")
    compare(f"{dtype} {rows}x{k}x{n} activation {activation}", y, act * u)


NORMS = [(1, 8), (19, 4096), (989, 5120), (3, 992), (2, 16384)]


def normed(s, gamma, beta, rms, dtype):
    d = s.double()
    if rms:
        return d * (d.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * gamma.double()
    d = d - d.mean(-1, keepdim=True)
    y = d * (d.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * gamma.double()
    return y + beta.double() if beta is not None else y


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rows,width", NORMS)
@pytest.mark.parametrize("rms", [True, False])
@pytest.mark.parametrize("residual", [False, True])
def test_norms_equal_float64_and_hand_on_the_sum(library, dtype, rows, width, rms, residual):
    x = (torch.randn(rows, width, device="cuda") * 3 + 5).to(dtype)
    r = torch.randn(rows, width, device="cuda").to(dtype) if residual else None
    gamma = torch.randn(width, device="cuda").to(dtype)
    beta = None if rms else torch.randn(width, device="cuda").to(dtype)
    y, total = poisoned(rows, width, dtype=dtype), poisoned(rows, width, dtype=dtype)
    inputs = [x, gamma, r] if rms else [x, gamma, beta, r]
    library["RmsNorm" if rms else "LayerNorm"](inputs, [y, total], eps=1e-5)
    s = (x.float() + r.float()).to(dtype) if residual else x
    assert torch.equal(total, s)
    compare(f"{dtype} {rows}x{width} rms {rms}", y, normed(s, gamma, beta, rms, dtype))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rows,width", NORMS)
@pytest.mark.parametrize("rms", [True, False])
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("codes", [torch.int8, torch.float8_e4m3fn])
def test_norms_end_in_codes(library, dtype, rows, width, rms, static, codes):
    x = torch.randn(rows, width, device="cuda").to(dtype)
    r = torch.randn(rows, width, device="cuda").to(dtype)
    gamma = torch.randn(width, device="cuda").to(dtype)
    beta = None if rms else torch.randn(width, device="cuda").to(dtype)
    most = 127 if codes == torch.int8 else 448
    scale = torch.tensor([8 / most], device="cuda") if static else None
    out = torch.full((rows, width), 77, device="cuda", dtype=torch.int8).view(codes)
    total, tokens = poisoned(rows, width, dtype=dtype), poisoned(rows, 1, dtype=torch.float32)
    library["NormInt8" if codes == torch.int8 else "NormFloat8"]([x, gamma, beta, r, scale], [out, total, tokens], eps=1e-5, rms=int(rms))
    s = (x.float() + r.float()).to(dtype)
    assert torch.equal(total, s)
    y = normed(s, gamma, beta, rms, dtype)
    expected = torch.full_like(tokens, 8 / most).double() if static else y.abs().amax(-1, keepdim=True) / most
    assert torch.allclose(tokens.double(), expected, rtol=0.02)
    reach = most * tokens.double()
    want = y.clamp(-reach - (tokens.double() if codes == torch.int8 else 0), reach)
    got = out.double() * tokens.double()
    step = tokens.double() * 0.51 if codes == torch.int8 else want.abs() / 15.5 + tokens.double() * 0.002
    slack = 3 * torch.finfo(dtype).eps * y.abs().amax(-1, keepdim=True)
    over = ((got - want).abs() - step - slack).max()
    assert float(over) <= 0, f"{float(over)} beyond half a code"


LORA = [(1, 1, 4096, 4096, 1, 8), (8, 1, 4096, 12288, 3, 64), (3, 19, 1000, 520, 2, 40), (2, 989, 64, 136, 5, 64), (1, 17, 8, 8, 1, 16), (4, 33, 11008, 4096, 2, 128)]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("batch,seq,k,n,adapters,rank", LORA)
def test_lora_adds_each_sequences_adapter(library, dtype, batch, seq, k, n, adapters, rank):
    base = torch.randn(batch, seq, n, device="cuda").to(dtype)
    x = torch.randn(batch, seq, k, device="cuda").to(dtype)
    a = (torch.randn(adapters, rank, k, device="cuda") * k**-0.5).to(dtype)
    b = (torch.randn(adapters, n, rank, device="cuda") * rank**-0.5).to(dtype)
    task = torch.randint(-1, adapters, (batch,), device="cuda", dtype=torch.int32)
    task[0] = adapters - 1
    y = poisoned(batch, seq, n, dtype=dtype)
    library["Lora"]([base, x, a, b, task], [y])
    want = base.double()
    for i, t in enumerate(task.tolist()):
        if t >= 0:
            inner = (x[i].double() @ a[t].double().t()).to(dtype)
            want[i] += inner.double() @ b[t].double().t()
    compare(f"{dtype} {batch}x{seq}x{k}x{n} {adapters} of {rank}", y, want)


ATTENTION = [(1, 1, 1, 1, 64), (2, 577, 577, 16, 64), (1, 989, 989, 4, 72), (2, 19, 19, 3, 80), (1, 257, 300, 2, 88), (3, 64, 65, 2, 96), (2, 200, 129, 5, 128), (1, 50, 40, 3, 32)]


def attention(q, k, v, heads, scale, seen, bias):
    split = lambda x: x.double().reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)
    scores = split(q) @ split(k).transpose(-1, -2) * scale
    if bias is not None:
        scores = scores + bias.double()
    scores = scores.masked_fill(~seen, float("-inf"))
    y = (scores.softmax(-1).nan_to_num(0.0) @ split(v).nan_to_num(0.0)).transpose(1, 2)
    return y.reshape(q.shape)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", ["all", "lengths", "segments", "bias", "bias of each", "lengths and bias"])
@pytest.mark.parametrize("batch,seq,keys,heads,dim", ATTENTION)
def test_encoder_attention_equals_float64(library, dtype, kind, batch, seq, keys, heads, dim):
    if kind == "segments" and (seq != keys or batch != 1):
        keys, batch = seq, 1
    q = torch.randn(batch, seq, heads * dim, device="cuda").to(dtype)
    k = (torch.randn(batch, keys, heads * dim, device="cuda") * 2).to(dtype)
    v = torch.randn(batch, keys, heads * dim, device="cuda").to(dtype)
    bias = torch.randn(batch if "each" in kind else 1, heads, seq, keys, device="cuda").to(dtype) if "bias" in kind else None
    seen = torch.ones(batch, 1, seq, keys, dtype=torch.bool, device="cuda")
    lengths = segments = None
    if "lengths" in kind:
        lengths = torch.randint(1, keys + 1, (batch,), device="cuda", dtype=torch.int32)
        for i, n in enumerate(lengths.tolist()):
            seen[i, :, :, n:] = False
            k[i, n:], v[i, n:] = float("nan"), float("nan")
    if kind == "segments":
        cuts = torch.randperm(seq)[: seq // 7].sort().values.tolist()
        starts = sorted({0, *cuts}) + [seq]
        segments = torch.tensor(starts, dtype=torch.int32, device="cuda")
        owner = torch.bucketize(torch.arange(seq, device="cuda"), segments[1:].long(), right=True)
        seen[0, 0] = owner.unsqueeze(1) == owner.unsqueeze(0)
    y = poisoned(batch, seq, heads * dim, dtype=dtype)
    library["BertAttention"]([q, k, v, bias, lengths, segments], [y], num_heads=heads, scale=dim**-0.5)
    kk = k.masked_fill(torch.isnan(k), 0.0)
    compare(f"{dtype} {kind} {batch}x{seq}x{keys} {heads}x{dim}", y, attention(q, kk, v, heads, dim**-0.5, seen, bias), ulp=4)


def test_calls_outside_the_limits_are_refused_in_words(library):
    half = lambda *shape: torch.zeros(*shape, device="cuda", dtype=torch.float16)
    with pytest.raises(Refused, match="head_dim"):
        library["BertAttention"]([half(1, 4, 136), half(1, 4, 136), half(1, 4, 136)], [half(1, 4, 136)], num_heads=1, scale=1.0)
    with pytest.raises(Refused, match="channel_scale"):
        library["SmoothQuantMatmul"]([half(2, 16), codes_of(8, 16), torch.ones(1, 3, device="cuda")], [half(2, 8)])
    with pytest.raises(Refused, match="codes already"):
        library["SmoothQuantMatmul"]([codes_of(2, 16), codes_of(8, 16), torch.ones(1, 1, device="cuda"), None, torch.ones(1, 16, device="cuda")], [half(2, 8)])
    with pytest.raises(Refused, match="N % 8 == 0"):
        library["FusedGatedMlp"]([half(2, 16), half(4, 16), half(4, 16)], [half(2, 4)])
    with pytest.raises(Refused, match="no beta"):
        tokens = torch.zeros(2, 1, device="cuda")
        library["NormInt8"]([half(2, 16), half(16), half(16)], [codes_of(2, 16), half(2, 16), tokens], rms=1)

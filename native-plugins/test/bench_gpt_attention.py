"""Times GptAttention, whole calls with their cache writes, beside PyTorch's attention alone; one JSON line each.

    python3 bench_gpt_attention.py LIBRARY [LIBRARY …]
"""

import json
import os
import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench_kernels import ATTENTION, bench, report
from gpt_attention_cases import CONTINUOUS, FP8, INT8, STATIC
from harness import Library

BF16, HEADS, DIM = torch.bfloat16, 32, 128
BACKENDS = [("flash", SDPBackend.FLASH_ATTENTION), ("cudnn", SDPBackend.CUDNN_ATTENTION)]


def name_of(library):
    return os.path.basename(library.file)


def attributes(heads, kv_heads, cache):
    return {"num_heads": heads, "num_kv_heads": kv_heads, "scale": DIM**-0.5, "cache": cache}


def anchors(q, k, v, n, **arguments):
    seconds = {}
    for name, backend in BACKENDS:
        with sdpa_kernel(backend):
            seconds[name] = bench(lambda: F.scaled_dot_product_attention(q, k, v, **arguments), n)
    return seconds


def prefill(libraries, kv_heads, seq, dim=DIM, n=20):
    q = torch.randn(1, HEADS, seq, dim, device="cuda", dtype=BF16)
    k = torch.randn(1, kv_heads, seq, dim, device="cuda", dtype=BF16)
    seconds = anchors(q, k, k, n, is_causal=True, enable_gqa=kv_heads != HEADS)
    qkv = torch.randn(1, seq, (HEADS + 2 * kv_heads) * dim, device="cuda", dtype=BF16)
    angles = torch.rand(1, seq, dim // 2, device="cuda")
    cos, sin = angles.cos().to(BF16), angles.sin().to(BF16)
    past = [torch.empty(1, kv_heads, 0, dim, device="cuda", dtype=BF16) for _ in range(2)]
    present = [torch.empty(1, kv_heads, seq, dim, device="cuda", dtype=BF16) for _ in range(2)]
    mask = torch.ones(1, seq, device="cuda", dtype=torch.int32)
    y = torch.empty(1, seq, HEADS * dim, device="cuda", dtype=BF16)
    kernels = {}
    for library in libraries:
        plugin, settings = library["GptAttention"], attributes(HEADS, kv_heads, CONTINUOUS) | {"scale": dim**-0.5}
        plain = plugin.prepare([qkv, None, *past, mask], [y, *present], **settings)
        rotated = plugin.prepare([qkv, None, *past, mask, cos, sin], [y, *present], **settings)
        seconds[name_of(library)] = bench(plain, n)
        seconds[name_of(library) + " with rope"] = bench(rotated, n)
        kernels[name_of(library)] = kernel_times(rotated)
    flop = 2 * HEADS * seq * seq * dim
    row = {"kernel": "gpt_attention_prefill", "sizes": [1, HEADS, kv_heads, seq, dim], "us": {k: round(t * 1e6, 1) for k, t in seconds.items()}}
    row["tflop_per_s"] = {name: round(flop / t / 1e12) for name, t in seconds.items()}
    print(json.dumps(row | {"kernels_us": kernels}), flush=True)


def kernel_times(run):
    """Microseconds of each kernel of a call, where the profiler works."""
    try:
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            for _ in range(5):
                run()
            torch.cuda.synchronize()
        return {e.key[:60]: round(e.device_time_total / e.count, 1) for e in seen.key_averages() if e.device_time_total > 0}
    except Exception as error:
        return {"profiler": str(error)[:80]}


def decode(libraries):
    for batch, heads, kv_heads, context in ATTENTION:
        q = torch.randn(batch, heads, 1, DIM, device="cuda", dtype=BF16)
        k = torch.randn(batch, kv_heads, context, DIM, device="cuda", dtype=BF16)
        v = torch.randn_like(k)
        seconds = anchors(q, k, v, 50, enable_gqa=kv_heads != heads)
        qkv = torch.randn(batch, 1, (heads + 2 * kv_heads) * DIM, device="cuda", dtype=BF16)
        full = torch.full((batch,), context, dtype=torch.int32, device="cuda")
        y = torch.empty(batch, 1, heads * DIM, device="cuda", dtype=BF16)
        for library in libraries:
            alone = library["DecodeAttention"].prepare([q.squeeze(2), k, v, full], [y.reshape(batch, heads, DIM)], scale=DIM**-0.5)
            seconds[f"DecodeAttention of {name_of(library)}"] = bench(alone)
            settings = attributes(heads, kv_heads, STATIC)
            seconds[name_of(library)] = bench(library["GptAttention"].prepare([qkv, full - 1, k, v], [y, k, v], **settings))
        report("gpt_attention_decode", [batch, heads, kv_heads, context], k.numel() * 4, seconds, "cudnn")


def codes(libraries):
    batch, heads, kv_heads, context = ATTENTION[1]
    qkv = torch.randn(batch, 1, (heads + 2 * kv_heads) * DIM, device="cuda", dtype=BF16)
    full = torch.full((batch,), context - 1, dtype=torch.int32, device="cuda")
    y = torch.empty(batch, 1, heads * DIM, device="cuda", dtype=BF16)
    scale = torch.tensor([0.02], device="cuda")
    for dtype in (INT8, FP8):
        k = torch.randint(-100, 100, (batch, kv_heads, context, DIM), device="cuda", dtype=torch.int8).view(dtype)
        v = k.clone()
        for library in libraries:
            run = library["GptAttention"].prepare([qkv, full, k, v, None, None, None, scale], [y, k, v], **attributes(heads, kv_heads, STATIC))
            report(f"gpt_attention_decode_{dtype}", [batch, heads, kv_heads, context], k.numel() * 2, {name_of(library): bench(run)}, name_of(library))


def main():
    libraries = [Library(file) for file in sys.argv[1:]]
    decode(libraries)
    for seq in (2048, 8192):
        prefill(libraries, HEADS, seq)
    prefill(libraries, 8, 2048)
    prefill(libraries, HEADS, 2048, 64)
    codes(libraries)


if __name__ == "__main__":
    main()

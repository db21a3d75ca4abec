"""Times kernels beside PyTorch's in one process; one JSON line each. python3 bench_kernels.py LIBRARY [LIBRARY …]

Each call is a CUDA graph replayed after 256 MiB of writes, so that nothing of the input is in L2; medians of 50.
"""

import json
import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness import Int4, Library, pack_int4

ATTENTION = [(1, 32, 32, 4096), (8, 32, 8, 4096), (32, 32, 8, 4096), (1, 32, 8, 32768)]
MATRICES = [(4096, 12288), (4096, 11008), (11008, 4096), (4096, 32000)]
ROWS = [1, 8]


def bench(f, n=50):
    for _ in range(5):
        f()
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        f()
    torch.cuda.current_stream().wait_stream(side)
    with torch.cuda.graph(graph):
        f()
    flush = torch.empty(1 << 26, device="cuda")
    times = []
    for _ in range(n):
        flush.zero_()
        start, end = torch.cuda.Event(True), torch.cuda.Event(True)
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) * 1e-3)
    times.sort()
    return times[n // 2]


def attention(libraries):
    for batch, heads, kv_heads, context in ATTENTION:
        q = torch.randn(batch, heads, 1, 128, device="cuda", dtype=torch.bfloat16)
        k = torch.randn(batch, kv_heads, context, 128, device="cuda", dtype=torch.bfloat16)
        v = torch.randn_like(k)
        seconds = {}
        for name, backend in [("flash", SDPBackend.FLASH_ATTENTION), ("cudnn", SDPBackend.CUDNN_ATTENTION)]:
            with sdpa_kernel(backend):
                seconds[name] = bench(lambda: F.scaled_dot_product_attention(q, k, v, enable_gqa=kv_heads != heads))
        lengths = torch.full((batch,), context, dtype=torch.int32, device="cuda")
        y = torch.empty(batch, heads, 128, device="cuda", dtype=torch.bfloat16)
        for library in libraries:
            run = library["DecodeAttention"].prepare([q.squeeze(2), k, v, lengths], [y], scale=128**-0.5)
            seconds[library.file] = bench(run)
        report("decode_attention", [batch, heads, kv_heads, context], k.numel() * 4, seconds, "cudnn")


def matmul(libraries):
    for k, n in MATRICES:
        w = torch.randn(n, k, device="cuda", dtype=torch.bfloat16)
        q8 = torch.randint(-128, 128, (k, n), device="cuda", dtype=torch.int8)
        q4 = Int4(pack_int4(torch.randint(-8, 8, (k, n), device="cuda", dtype=torch.int8)))
        grouped = torch.rand(k // 128, n, device="cuda").to(torch.bfloat16)
        channel = torch.rand(1, n, device="cuda").to(torch.bfloat16)
        torch4 = torch._convert_weight_to_int4pack(torch.randint(0, 255, (n, k // 2), device="cuda", dtype=torch.uint8), 8)
        zeros = torch.randn(k // 128, n, 2, device="cuda", dtype=torch.bfloat16)
        for m in ROWS:
            x = torch.randn(m, k, device="cuda", dtype=torch.bfloat16)
            y = torch.empty(m, n, device="cuda", dtype=torch.bfloat16)
            bf16 = bench(lambda: x @ w.t())
            int4 = {"bf16": bf16, "torch_int4": bench(lambda: torch._weight_int4pack_mm(x, torch4, 128, zeros))}
            int8 = {"bf16": bf16}
            for library in libraries:
                plugin = library["WeightOnlyMatmul"]
                int4[library.file] = bench(plugin.prepare([x, q4, grouped], [y], group_size=128))
                int8[library.file] = bench(plugin.prepare([x, q8, channel], [y], group_size=k))
            report("int4_g128_matmul", [m, k, n], k * n // 2 + grouped.numel() * 2, int4, "torch_int4")
            report("int8_matmul", [m, k, n], k * n, int8, "bf16")


def report(kernel, sizes, moved, seconds, anchor):
    row = {"kernel": kernel, "sizes": sizes, "us": {name: round(t * 1e6, 1) for name, t in seconds.items()}}
    row["tb_per_s"] = {name: round(moved / t / 1e12, 2) for name, t in seconds.items() if name.endswith(".so")}
    row[f"ratio_to_{anchor}"] = {name: round(t / seconds[anchor], 3) for name, t in seconds.items() if name.endswith(".so")}
    print(json.dumps(row), flush=True)


def main():
    libraries = [Library(file) for file in sys.argv[1:]]
    x = torch.empty(2 << 30, device="cuda", dtype=torch.uint8)
    y = torch.empty_like(x)
    seconds = bench(lambda: y.copy_(x), 20)
    tiny = torch.empty(4, device="cuda")
    empty = bench(lambda: tiny.zero_())
    device = torch.cuda.get_device_name()
    print(json.dumps({"device": device, "copy_tb_per_s": round(2 * x.numel() / seconds / 1e12, 2), "least_kernel_us": round(empty * 1e6, 1), "torch": torch.__version__}), flush=True)
    del x, y
    matmul(libraries)
    attention(libraries)


if __name__ == "__main__":
    main()

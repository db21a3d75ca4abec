"""Times weight-only and 16-bit products beside PyTorch's in one process; one JSON line each.

    python3 bench_matmul.py [--cold-read FILE] LIBRARY [LIBRARY …]

FILE, made of cold_read.cu, gives the time in which the card reads what each product of one row must read, and no more.

As bench_kernels.py: each call is a CUDA graph replayed after 256 MiB of writes; medians of 30.
"""

import argparse
import ctypes as c
import json

import torch

from harness import Int4, Library, pack_int4

MATRICES = [(4096, 12288), (4096, 11008), (11008, 4096), (4096, 32000)]
GEMMS = MATRICES + [(4096, 4096), (4096, 22016)]
ROWS = [1, 8, 16, 64, 512]
FLUSH = torch.empty(1 << 26, device="cuda")


def bench(f, n=30):
    for _ in range(3):
        f()
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        f()
    torch.cuda.current_stream().wait_stream(side)
    with torch.cuda.graph(graph):
        f()
    events = [(torch.cuda.Event(True), torch.cuda.Event(True)) for _ in range(n)]
    for start, end in events:
        FLUSH.zero_()
        start.record()
        graph.replay()
        end.record()
    torch.cuda.synchronize()
    times = sorted(start.elapsed_time(end) * 1e-3 for start, end in events)
    return times[n // 2]


class ColdRead:
    """What reading alone takes."""

    def __init__(self, file):
        self.read = c.CDLL(file).cold_read
        self.bytes = torch.randint(0, 255, (320 << 20,), device="cuda", dtype=torch.uint8)
        self.blocks = 4 * torch.cuda.get_device_properties(0).multi_processor_count

    def seconds(self, size):
        assert size <= self.bytes.numel()
        stream = lambda: c.c_void_p(torch.cuda.current_stream().cuda_stream)
        pointer = c.c_void_p(self.bytes.data_ptr())
        return bench(lambda: self.read(pointer, c.c_int64(size), pointer, self.blocks, stream()))


def report(kernel, m, k, n, moved, seconds, cold=None):
    names = [name for name in seconds if name.endswith(".so")]
    if cold is not None and m == 1:
        seconds["cold_read"] = cold.seconds(moved)
    row = {"kernel": kernel, "sizes": [m, k, n], "us": {name: round(t * 1e6, 1) for name, t in seconds.items()}}
    for anchor in ("bf16", "torch_int4"):
        if anchor in seconds:
            row[f"{anchor}_over_ours"] = {name: round(seconds[anchor] / seconds[name], 2) for name in names}
    row["tb_per_s"] = {name: round(moved / seconds[name] / 1e12, 2) for name in names[:1]}
    row["tflop_per_s"] = {name: round(2 * m * k * n / seconds[name] / 1e12, 1) for name in names[:1]}
    print(json.dumps(row), flush=True)


class Weight:
    """One matrix in all the forms that are timed."""

    def __init__(self, k, n):
        self.k, self.n = k, n
        self.bf16 = torch.randn(n, k, device="cuda", dtype=torch.bfloat16)
        self.int8 = torch.randint(-128, 128, (k, n), device="cuda", dtype=torch.int8)
        self.int4 = Int4(pack_int4(torch.randint(-8, 8, (k, n), device="cuda", dtype=torch.int8)))
        self.grouped = torch.rand(k // 128, n, device="cuda").bfloat16()
        self.channel = torch.rand(1, n, device="cuda").bfloat16()
        self.torch4 = torch._convert_weight_to_int4pack(torch.randint(0, 255, (n, k // 2), device="cuda", dtype=torch.uint8), 8)
        self.zeros = torch.randn(k // 128, n, 2, device="cuda", dtype=torch.bfloat16)


def bench_gemms(libraries, cold):
    for k, n in GEMMS:
        weight = torch.randn(n, k, device="cuda", dtype=torch.bfloat16)
        for m in ROWS:
            x = torch.randn(m, k, device="cuda", dtype=torch.bfloat16)
            y = torch.empty(m, n, device="cuda", dtype=torch.bfloat16)
            seconds = {"bf16": bench(lambda: x @ weight.t())}
            for library in libraries:
                if "Gemm" in library.plugins:
                    seconds[library.file] = bench(library["Gemm"].prepare([x, weight], [y]))
            report("gemm", m, k, n, 2 * k * n, seconds, cold)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cold-read")
    parser.add_argument("libraries", nargs="+")
    arguments = parser.parse_args()
    cold = arguments.cold_read and ColdRead(arguments.cold_read)
    libraries = [Library(file) for file in arguments.libraries]
    tiny = torch.empty(4, device="cuda")
    print(json.dumps({"device": torch.cuda.get_device_name(), "least_kernel_us": round(bench(lambda: tiny.zero_()) * 1e6, 1)}), flush=True)
    weights = [Weight(k, n) for k, n in MATRICES]
    for m in ROWS:
        for w in weights:
            x = torch.randn(m, w.k, device="cuda", dtype=torch.bfloat16)
            y = torch.empty(m, w.n, device="cuda", dtype=torch.bfloat16)
            bf16 = bench(lambda: x @ w.bf16.t())
            int4, int8 = {"bf16": bf16}, {"bf16": bf16}
            if m <= 16:
                int4["torch_int4"] = bench(lambda: torch._weight_int4pack_mm(x, w.torch4, 128, w.zeros))
            for library in libraries if m <= 8 else libraries[:1]:
                plugin = library["WeightOnlyMatmul"]
                int4[library.file] = bench(plugin.prepare([x, w.int4, w.grouped], [y], group_size=128))
                int8[library.file] = bench(plugin.prepare([x, w.int8, w.channel], [y], group_size=w.k))
            report("int4_g128_matmul", m, w.k, w.n, w.k * w.n // 2 + w.grouped.numel() * 2, int4, cold)
            report("int8_matmul", m, w.k, w.n, w.k * w.n, int8, cold)
    bench_gemms(libraries, cold)


if __name__ == "__main__":
    main()

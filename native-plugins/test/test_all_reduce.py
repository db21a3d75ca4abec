"""AllReduce on as many GPUs as there are, a process each, against float64, then beside NCCL: python3 test_all_reduce.py LIBRARY"""

import ctypes
import json
import os
import sys

import torch
import torch.distributed as dist

from harness import Library

COUNTS = [8, 19 * 8, 989 * 8, 4096, 65536, 262144, 1 << 20]


class Share(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_ubyte * 256)]


def join(library, rank, size):
    own = Share()
    assert library.c.mmtrt_group_open(0, rank, size, ctypes.byref(own)) == 0, library.error()
    shares = [None] * size
    dist.all_gather_object(shares, bytes(own.bytes))
    every = (Share * size)(*(Share.from_buffer_copy(share) for share in shares))
    assert library.c.mmtrt_group_connect(0, every) == 0, library.error()


def bench(run, n=200):
    for _ in range(5):
        run()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(10):
            run()
    dist.barrier()
    start, end = torch.cuda.Event(True), torch.cuda.Event(True)
    graph.replay()
    start.record()
    for _ in range(n // 10):
        graph.replay()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) * 1e3 / n


def check(library, rank, size):
    bad = 0
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        for count in COUNTS:
            torch.manual_seed(19)
            parts = torch.randn(size, count, device="cuda").to(dtype)
            x, y = parts[rank].contiguous(), torch.full((count,), float("nan"), device="cuda", dtype=dtype)
            run = library["AllReduce"].prepare([x], [y], group=0)
            for _ in range(20):
                y.fill_(float("nan"))
                run()
            torch.cuda.synchronize()
            want = parts.double().sum(0)
            steps = float(((y.double() - want).abs() / (torch.finfo(dtype).eps * want.abs().max())).nan_to_num(1e9).max())
            bad += steps > 2
            if rank == 0:
                print(f"{'ok' if steps <= 2 else 'BAD'} {dtype} {count}: {steps:.2f} steps", flush=True)
    return bad


def worker(rank, size, file):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29519", RANK=str(rank), WORLD_SIZE=str(size))
    torch.cuda.set_device(rank)
    dist.init_process_group("cpu:gloo,cuda:nccl", rank=rank, world_size=size, device_id=torch.device("cuda", rank))
    library = Library(file)
    join(library, rank, size)
    bad = check(library, rank, size)
    for count in (4096, 16384, 32768, 65536, 131072, 262144, 524288):
        x = torch.zeros(count, device="cuda", dtype=torch.bfloat16)
        y = torch.empty_like(x)
        seconds = {"nccl": bench(lambda: dist.all_reduce(x)), "ours": bench(library["AllReduce"].prepare([x], [y], group=0))}
        if rank == 0:
            print(json.dumps({"kernel": "all_reduce", "bytes": count * 2, "us": seconds, "nccl_over_ours": seconds["nccl"] / seconds["ours"]}), flush=True)
    assert library.c.mmtrt_group_close(0) == 0, library.error()
    dist.destroy_process_group()
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    gpus = torch.cuda.device_count()
    assert gpus >= 2, "two GPUs or more"
    torch.multiprocessing.spawn(worker, args=(min(gpus, 8), sys.argv[1]), nprocs=min(gpus, 8))

"""Speed of a whole decoder in ONNX Runtime's CUDA provider with the library's kernels, beside the runtime's own best graph and PyTorch:

    npx tsx bench/emit-decoder.ts llava-1.5-7b float16 static float16.static.onnx     # graphs without weights, on any machine
    python native-plugins/test/bench_decoder.py LIB GRAPH.onnx … [--baseline float16 int4] [--torch] [--context 600] [--batch 1 8 32] [--profile]

Needs a GPU with 40 GB, onnxruntime-gpu, onnx, torch, numpy. Decode: one token of each sequence at `--context`, CUDA graphs in both; `ms` is
of 50 replays queued one behind the other (CUDA events), `ms_waited` the median where each is waited for. Prefill: prompts of
`--context` tokens. One JSON line each.
"""

import argparse
import gc
import json
import os
import statistics
import tempfile
import time

import onnx
import torch
import torch.nn.functional as F

from ort_baseline import Llama, llama
from ort_decoder import CAPTURED, NOT_CAPTURED, Decoder, run_options
from ort_harness import bind, cuda_session, session_options
from ort_random_weights import fill

COPY_RATE = 4.3e12
CAPACITY = 1024
REPLAYS = 50


def timed(stream, run, n):
    """(milliseconds of a run in a queue of n, median of n that are waited for, host's milliseconds to queue one)."""
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    start, end = torch.cuda.Event(True), torch.cuda.Event(True)
    began = time.perf_counter()
    start.record(stream)
    for _ in range(n):
        run()
    end.record(stream)
    host = (time.perf_counter() - began) * 1e3 / n
    torch.cuda.synchronize()
    queued = start.elapsed_time(end) / n
    waited = []
    for _ in range(n):
        begin = time.perf_counter()
        run()
        stream.synchronize()
        waited.append((time.perf_counter() - begin) * 1e3)
    return queued, statistics.median(waited), host


def kernels(run):
    """Microseconds and launches of each kernel in a run."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        run()
        torch.cuda.synchronize()
    rows = [(e.key[:90], round(e.self_device_time_total, 1), e.count) for e in profile.key_averages()]
    return sorted(rows, key=lambda row: -row[1])[:16]


def measured(head, stream, run, bindings, moved, profile):
    """One line of an engine; `bindings` are of a step and of a prompt."""
    step = lambda: run(bindings[0], run_options(CAPTURED))
    plain_step = lambda: run(bindings[0], run_options(NOT_CAPTURED))
    prompt = lambda: run(bindings[1], run_options(NOT_CAPTURED))
    step_ms, step_waited, _ = timed(stream, step, REPLAYS)
    plain_ms, plain_waited, plain_host = timed(stream, plain_step, 10)
    prompt_ms, prompt_waited, prompt_host = timed(stream, prompt, 10)
    limit = moved / COPY_RATE * 1e3
    decode = {"ms": round(step_ms, 3), "ms_waited": round(step_waited, 3), "gb": round(moved / 1e9, 2)}
    decode |= {"hbm_limit_ms": round(limit, 3), "over_limit": round(step_ms / limit, 3)}
    plain = {"ms": round(plain_ms, 3), "ms_waited": round(plain_waited, 3), "host_ms": round(plain_host, 3)}
    prefill = {"ms": round(prompt_ms, 2), "ms_waited": round(prompt_waited, 2), "host_ms": round(prompt_host, 2)}
    row = {**head, "decode": decode, "decode_without_cuda_graph": plain, "prefill": prefill}
    print(json.dumps(row), flush=True)
    if profile:
        print(json.dumps({**head, "decode_kernels": kernels(step)}), flush=True)
        print(json.dumps({**head, "prefill_kernels": kernels(prompt)}), flush=True)


def bytes_moved(m, weights, batch, context):
    """Of a step: all weights but the rows of the word table that nobody asks for, and keys and values in float16."""
    return weights - m.vocab * m.hidden * 2 + batch * 2 * m.layers * m.hidden * context * 2


def ours(graph, library, batch, context, folder, profile):
    model = onnx.load(graph, load_external_data=False)
    m = Llama()
    path, total = fill(model, folder)
    started = time.time()
    decoder = Decoder(path, batch=batch, capacity=CAPACITY, graph=True, options=session_options(library))
    decoder.feed("prompt_embedding_table", torch.zeros(1, m.hidden))
    decoder.feed("tasks", torch.zeros(batch, 1))
    decoder.feed("prompt_vocab_size", torch.ones(1))
    loaded = round(time.time() - started, 1)
    positions = torch.arange(context).expand(batch, -1)
    ids = torch.randint(3, m.vocab, (batch, context))
    decoder.step(ids, positions, torch.full((batch,), context - 1))
    torch.cuda.synchronize()
    prompt_binding = decoder.last_binding
    decoder.advance([context] * batch)
    for _ in range(3):
        logits = decoder.step(torch.full((batch, 1), 7), torch.full((batch, 1), context), torch.zeros(batch))
    torch.cuda.synchronize()
    assert bool(torch.isfinite(logits).all()), "logits are not finite"
    step_binding = decoder.last_binding
    head = {"engine": os.path.basename(graph), "batch": batch, "load_seconds": loaded}
    bindings = (step_binding, prompt_binding)
    measured(head, decoder.stream, decoder.session.run_with_iobinding, bindings, bytes_moved(m, total, batch, context), profile)


def baseline(int4, batch, context, folder, profile):
    m = Llama()
    path, total = fill(llama(m, CAPACITY, int4, batch), folder)
    stream = torch.cuda.Stream()
    session = cuda_session(path, enable_cuda_graph="1", user_compute_stream=str(stream.cuda_stream))
    cache = {f"{part}_{i}": torch.zeros(batch, m.heads, CAPACITY, m.dim, dtype=torch.float16, device="cuda") for part in ("key", "value") for i in range(m.layers)}

    def bound(ids, past):
        tokens = past + ids.shape[1]
        fed = {"input_ids": ids.int().cuda(), "seqlens_k": torch.full((batch,), tokens - 1, dtype=torch.int32, device="cuda")}
        host = torch.tensor(tokens, dtype=torch.int32)
        logits = torch.empty(batch, m.vocab, dtype=torch.float16, device="cuda")
        binding = session.io_binding()
        bind(binding, "input", "total_length", host, device="cpu")
        for name, value in fed.items():
            bind(binding, "input", name, value)
        bind(binding, "output", "logits", logits)
        for name, value in cache.items():
            bind(binding, "input", f"past_{name}", value)
            bind(binding, "output", f"present_{name}", value)
        return binding, (fed, host, logits)

    prompt_binding, kept_prompt = bound(torch.randint(3, m.vocab, (batch, context)), 0)
    step_binding, kept_step = bound(torch.full((batch, 1), 7), context)
    torch.cuda.synchronize()
    session.run_with_iobinding(prompt_binding, run_options(NOT_CAPTURED))
    torch.cuda.synchronize()
    assert bool(torch.isfinite(kept_prompt[2]).all()), "logits are not finite"
    name = f"onnxruntime {'MatMulNBits' if int4 else 'float16'} + GroupQueryAttention"
    head, bindings = {"engine": name, "batch": batch}, (step_binding, prompt_binding)
    measured(head, stream, session.run_with_iobinding, bindings, bytes_moved(m, total, batch, context), profile)


class TorchLayer(torch.nn.Module):
    def __init__(self, m):
        super().__init__()
        self.m = m
        shapes = {"qkv": (3 * m.hidden, m.hidden), "dense": (m.hidden, m.hidden), "gate": (m.intermediate, m.hidden)}
        shapes |= {"up": (m.intermediate, m.hidden), "down": (m.hidden, m.intermediate)}
        for name, (n, k) in shapes.items():
            self.register_buffer(name, torch.randn(n, k, device="cuda", dtype=torch.float16) * k**-0.5)
        self.register_buffer("gamma", torch.ones(m.hidden, device="cuda", dtype=torch.float16))

    def forward(self, x, cos, sin):
        m, (b, s, h) = self.m, x.shape
        norm = lambda y: F.rms_norm(y, (h,), self.gamma, m.eps)
        q, k, v = F.linear(norm(x), self.qkv).view(b, s, 3, m.heads, m.dim).permute(2, 0, 3, 1, 4)
        turn = lambda t: t * cos + torch.cat((-t[..., m.dim // 2 :], t[..., : m.dim // 2]), -1) * sin
        y = F.scaled_dot_product_attention(turn(q), turn(k), v, is_causal=True)
        x = x + F.linear(y.transpose(1, 2).reshape(b, s, h), self.dense)
        z = norm(x)
        return x + F.linear(F.silu(F.linear(z, self.gate)) * F.linear(z, self.up), self.down)


@torch.no_grad()
def pytorch(batch, context, compiled):
    m = Llama()
    layers = [TorchLayer(m) for _ in range(m.layers)]
    head = torch.randn(m.vocab, m.hidden, device="cuda", dtype=torch.float16) * m.hidden**-0.5
    angles = torch.arange(context, device="cuda")[:, None] * m.theta ** (-torch.arange(0, m.dim, 2, device="cuda") / m.dim)
    cos, sin = (torch.cat((f(angles), f(angles)), -1).half() for f in (torch.cos, torch.sin))
    x = torch.randn(batch, context, m.hidden, device="cuda", dtype=torch.float16)
    if compiled:
        for layer in layers:
            layer.compile()

    def prompt():
        y = x
        for layer in layers:
            y = layer(y, cos, sin)
        return F.linear(F.rms_norm(y[:, -1], (m.hidden,)), head)

    ms, _, _ = timed(torch.cuda.current_stream(), prompt, 10)
    print(json.dumps({"engine": f"pytorch {'compile' if compiled else 'eager'} float16", "batch": batch, "prefill": {"ms": round(ms, 2)}}), flush=True)


def apart(function, *arguments):
    """Each engine's memory goes before the next comes; a failure is a line of its own."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        try:
            function(*(folder if a is FOLDER else a for a in arguments))
        except Exception as error:
            print(json.dumps({"engine": str(arguments[0]), "error": f"{type(error).__name__}: {str(error)[:700]}"}), flush=True)
    gc.collect()
    torch.cuda.empty_cache()


FOLDER = object()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library")
    parser.add_argument("graphs", nargs="*")
    parser.add_argument("--baseline", nargs="*", default=[], choices=["float16", "int4"])
    parser.add_argument("--torch", action="store_true")
    parser.add_argument("--context", type=int, default=600)
    parser.add_argument("--batch", type=int, nargs="*", default=[1])
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    print(json.dumps({"device": torch.cuda.get_device_name(), "context": options.context}), flush=True)
    for batch in options.batch:
        sizes = (batch, options.context)
        for graph in options.graphs:
            apart(ours, graph, options.library, *sizes, FOLDER, options.profile)
        for form in options.baseline:
            apart(baseline, form == "int4", *sizes, FOLDER, options.profile)
        for compiled in (False, True) if options.torch else ():
            apart(pytorch, *sizes, compiled)


if __name__ == "__main__":
    main()

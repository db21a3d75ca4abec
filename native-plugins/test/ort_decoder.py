"""Runs an emitted decoder (docs/internals/graph-contract.md) in ONNX Runtime, every tensor bound where it lies.

Static and paged caches are one buffer that is both input and output, so that nothing is copied; a continuous one grows. With
`graph=True` steps of one token are captured into a CUDA graph at their second run and replayed from the third.
"""

import math

import numpy as np
import onnxruntime
import torch

from ort_harness import bind, cuda_session, session_options

TORCH_TYPES = {
    "tensor(float)": torch.float32,
    "tensor(float16)": torch.float16,
    "tensor(bfloat16)": torch.bfloat16,
    "tensor(int8)": torch.int8,
    "tensor(float8e4m3fn)": torch.float8_e4m3fn,
    "tensor(int32)": torch.int32,
    "tensor(int64)": torch.int64,
}
CAPTURED, NOT_CAPTURED = "1", "-1"


def run_options(graph_id):
    """The run only queues its work, which the stream keeps in order."""
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("disable_synchronize_execution_providers", "1")
    options.add_run_config_entry("gpu_graph_id", graph_id)
    return options


class Decoder:
    def __init__(self, file, library=None, batch=1, capacity=0, device="cuda", graph=False, options=None):
        self.batch, self.capacity, self.device, self.graph = batch, capacity, device, graph
        # What nobody wrote is NaN, or a code of -1: kernels must not look at it. Standard attention multiplies it by zero.
        self.unwritten = 255 if library is not None else 0
        options = options or session_options(library)
        if device == "cuda":
            self.stream = torch.cuda.Stream()
            # Also where nothing is captured: without it a session on a stream of ours whose runs are not waited for frees pinned
            # memory in a callback of the stream, where CUDA allows that to nobody, and the process ends.
            provider = {"user_compute_stream": str(self.stream.cuda_stream), "enable_cuda_graph": "1"}
            self.session = cuda_session(file, options=options, **provider)
        else:
            self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.inputs = {value.name: value for value in self.session.get_inputs()}
        self.outputs = {value.name: value for value in self.session.get_outputs()}
        self.kind = "paged" if "block_table" in self.inputs else "static" if "cache_lengths" in self.inputs else "continuous"
        if self.kind == "paged":
            self.block = self.inputs["cache_key_0"].shape[2]
        self.lengths = torch.zeros(batch, dtype=torch.int32, device=device)
        self.fixed = {}
        self.memory = {}
        self.cache = {}
        self.bindings = {}
        self.last_binding = None
        self.reset()

    def reset(self):
        """An empty cache, in the same memory as before."""
        self.lengths.zero_()
        for name, value in self.inputs.items():
            if not name.startswith(("past_", "cache_")) or name == "cache_lengths":
                continue
            shape = list(value.shape)
            shape[0] = self.batch
            if self.kind == "continuous":
                shape[2] = 0
            elif self.kind == "static":
                self.capacity = shape[2]
            else:
                shape[0] = 1 + self.batch * self.blocks()
            if name in self.cache and self.kind != "continuous":
                self.cache[name].view(torch.uint8).fill_(self.unwritten)
            else:
                self.cache[name] = self._empty(shape, value.type)
        if self.kind == "paged":
            order = np.random.default_rng(19).permutation(self.batch * self.blocks()) + 1
            self.feed("block_table", torch.tensor(order.reshape(self.batch, -1)))

    def blocks(self):
        return math.ceil(self.capacity / self.block)

    def _empty(self, shape, kind):
        made = torch.empty(shape, dtype=TORCH_TYPES[kind], device=self.device)
        if made.numel():
            made.view(torch.uint8).fill_(self.unwritten)
        return made

    def feed(self, name, value):
        """An input that stays for the steps to come. Each shape has memory of its own, at the address that graphs were captured with."""
        value = value.to(self.device, TORCH_TYPES[self.inputs[name].type]).contiguous()
        self.fixed[name] = known = self.memory.setdefault((name, tuple(value.shape)), value)
        known.copy_(value)

    def step(self, ids, positions, last, mask=None):
        """ids, positions int32 [batch, seq]; last [batch]; mask [batch, past + seq] for a continuous cache. Gives logits.

        Nothing is waited for; the cache's lengths are the caller's to move on (`advance`).
        """
        for name, value in (("input_ids", ids), ("position_ids", positions), ("last_token_ids", last)):
            self.feed(name, value)
        if self.kind == "continuous":
            self.feed("attention_mask", mask)
        binding, logits = self._binding(ids.shape[1])
        self.last_binding = binding
        return self._run(binding, logits, ids.shape[1])

    def _run(self, binding, logits, seq):
        captured = self.graph and seq == 1
        if self.device == "cuda":
            self.stream.wait_stream(torch.cuda.current_stream())
            self.session.run_with_iobinding(binding, run_options(CAPTURED if captured else NOT_CAPTURED))
            torch.cuda.current_stream().wait_stream(self.stream)
        else:
            self.session.run_with_iobinding(binding)
        return logits

    def _binding(self, seq):
        """Bound tensors of a step of so many tokens; kept where every address stays."""
        key = (seq,) + tuple(value.data_ptr() for value in self.fixed.values())
        if self.kind != "continuous" and key in self.bindings:
            return self.bindings[key][:2]
        binding = self.session.io_binding()
        fed = dict(self.fixed, **self.cache)
        if self.kind != "continuous":
            fed["cache_lengths"] = self.lengths
        for name in self.inputs:
            bind(binding, "input", name, fed[name], device=self.device)
        logits = self._empty([self.batch, self.outputs["logits"].shape[1]], self.outputs["logits"].type)
        grown = {}
        for name in self.outputs:
            if name == "logits":
                bind(binding, "output", name, logits, device=self.device)
            elif self.kind == "continuous":
                past = self.cache[name.replace("present_", "past_")]
                shape = [*past.shape[:2], past.shape[2] + seq, past.shape[3]]
                grown[name.replace("present_", "past_")] = made = torch.empty(shape, dtype=past.dtype, device=self.device)
                bind(binding, "output", name, made, device=self.device)
            else:
                bind(binding, "output", name, self.cache[name.removesuffix("_out")], device=self.device)
        if self.kind == "continuous":
            # The run that comes reads what the cache was.
            self.held = (fed, self.cache)
            self.cache = grown
        else:
            self.bindings[key] = (binding, logits, fed)
        return binding, logits

    def advance(self, counts):
        self.lengths.add_(torch.as_tensor(counts, dtype=torch.int32, device=self.device))


def greedy(decoder, prompts, eos, most):
    """Greedy answers to prompts (lists of ids), and the logits after each prompt. Padding is on the side the cache wants."""
    decoder.reset()
    count, longest = len(prompts), max(map(len, prompts))
    assert count == decoder.batch
    lengths = torch.tensor([len(p) for p in prompts])
    left = decoder.kind == "continuous"
    ids = torch.zeros(count, longest, dtype=torch.int32)
    mask = torch.zeros(count, longest, dtype=torch.int32)
    positions = torch.zeros(count, longest, dtype=torch.int32)
    for row, prompt in enumerate(prompts):
        place = slice(longest - len(prompt), longest) if left else slice(0, len(prompt))
        ids[row, place] = torch.tensor(prompt, dtype=torch.int32)
        positions[row, place] = torch.arange(len(prompt), dtype=torch.int32)
        mask[row, place] = 1
    last = torch.full((count,), longest - 1) if left else lengths - 1
    first = decoder.step(ids, positions, last, mask).float().cpu().clone()
    decoder.advance(lengths)
    logits, answers, done = first, [[] for _ in prompts], [False] * count
    for step in range(most):
        tokens = logits.argmax(-1)
        for row, token in enumerate(tokens.tolist()):
            if not done[row]:
                answers[row].append(token)
            done[row] = done[row] or token == eos
        if all(done) or step == most - 1:
            break
        mask = torch.cat([mask, torch.ones(count, 1, dtype=torch.int32)], dim=1)
        at = (lengths + step).to(torch.int32)[:, None]
        logits = decoder.step(tokens.to(torch.int32)[:, None], at, torch.zeros(count), mask).float().cpu()
        decoder.advance([1] * count)
    return answers, first

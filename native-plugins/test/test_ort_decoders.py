"""Whole decoders with the library's kernels in ONNX Runtime's CUDA provider, against the CPU provider and transformers:

    python native-plugins/test/ort_engines.py ENGINES          # on a machine with mmtrt, torch and transformers; no GPU
    python native-plugins/test/test_ort_decoders.py LIB ENGINES [NAME …] [--questions N]

The second needs a GPU, onnxruntime-gpu, onnx, torch, numpy and libmmtrt_plugins.so. For each engine directory it asks the held-out
questions: the visual graph and the decoder on CUDA with the library, then the same files on the CPU provider, where the bodies of the
nodes run. One line each; exit 1 where answers differ from the CPU's by more than 0.5 points, or CUDA graphs change a token.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto

from ort_decoder import TORCH_TYPES, Decoder, greedy
from ort_harness import bind, cuda_session, session_options

BATCH = 8
EOS = 2
POINTS = 0.5
OURS = {"GptAttention", "RmsNorm", "LayerNorm", "WeightOnlyMatmul", "PromptTuningEmbedding", "Lora", "Gemm", "FusedGatedMlp"}


def features(file, pixels, device):
    """Visual features of pictures [n, 3, H, W] from a visual graph."""
    if device == "cuda":
        session = cuda_session(file)
    else:
        session = onnxruntime.InferenceSession(file, session_options(), providers=["CPUExecutionProvider"])
    kind = TORCH_TYPES[session.get_inputs()[0].type]
    x = torch.tensor(pixels).to(device, kind)
    _, count, width = session.get_outputs()[0].shape
    y = torch.empty(len(pixels), count, width, dtype=TORCH_TYPES[session.get_outputs()[0].type], device=device)
    binding = session.io_binding()
    bind(binding, "input", "input", x, device)
    bind(binding, "output", "output", y, device)
    session.run_with_iobinding(binding)
    return y


def ask(decoder, questions, seen, adapters):
    """Answers (token ids) and first logits of all questions, in batches; the last is filled up with its first question."""
    answers, logits = [], []
    for at in range(0, len(questions), BATCH):
        batch = questions[at : at + BATCH]
        full = batch + [batch[0]] * (BATCH - len(batch))
        table = torch.cat([seen[q["image"]] for q in full])
        decoder.feed("prompt_embedding_table", table)
        decoder.feed("tasks", torch.arange(BATCH)[:, None])
        decoder.feed("prompt_vocab_size", torch.tensor([table.shape[0] // BATCH]))
        feed_adapters(decoder, adapters)
        got, first = greedy(decoder, [q["ids"] for q in full], EOS, 30)
        answers += got[: len(batch)]
        logits.append(first[: len(batch)])
    return answers, torch.cat(logits)


def feed_adapters(decoder, on):
    """Two adapters: the first is none, the second random numbers, or zeros too where the answers must not change."""
    for name, value in decoder.inputs.items():
        if name.startswith("lora_"):
            shape = [size if isinstance(size, int) else {"adapters": 2, "lora_rank": 8}.get(size, BATCH) for size in value.shape]
            if name == "lora_task_ids":
                decoder.feed(name, torch.arange(BATCH) % 2)
                continue
            random = torch.randn(shape, generator=torch.Generator().manual_seed(sum(map(ord, name))))
            random[0] = 0
            decoder.feed(name, random * (0.2 if on else 0.0))


def placed_on_cpu(file, library, questions, seen):
    """Operators that CUDA sessions leave to the CPU provider, with counts, from the runtime's own profile."""
    with tempfile.TemporaryDirectory() as folder:
        options = session_options(library)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        decoder = Decoder(file, batch=BATCH, capacity=200, options=options)
        ask(decoder, questions[:BATCH], seen, False)
        events = json.loads(Path(decoder.session.end_profiling()).read_text())
    nodes = [e["args"] for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    where = lambda provider: dict(Counter(n["op_name"] for n in {n["node_index"]: n for n in nodes if n["provider"] == provider}.values()))
    return where("CPUExecutionProvider"), where("CUDAExecutionProvider")


def onnx_type_of(file, name):
    model = onnx.load(file, load_external_data=False)
    return next(value.type.tensor_type.elem_type for value in model.graph.input if value.name == name)


def right(answers, questions):
    return sum(answer == q["tokens"] for answer, q in zip(answers, questions))


def cosine(a, b):
    a, b = a.double(), b.double()
    return float(((a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))).min())


def check(folder, library, questions, pixels, wanted):
    """One engine directory. Gives a row of figures; `wrong` in it is empty where all is well."""
    started = time.time()
    images = sorted({q["image"] for q in questions})
    stacked = np.stack([pixels[name] for name in images])
    file, wrong = str(folder / "llm/rank0.onnx"), []
    row = {"engine": folder.name, "questions": len(questions)}
    # The CUDA provider has no Conv of bfloat16, the CPU provider none of its operators: the tower is then the float32 engine's.
    in_bfloat16 = onnx_type_of(file, "prompt_embedding_table") == TensorProto.BFLOAT16
    tower = str((folder.parent / "float32" if in_bfloat16 else folder) / "visual/model.onnx")
    visual = {d: dict(zip(images, features(tower, stacked, d))) for d in ("cuda", "cpu")}
    row["visual_cosine"] = round(min(cosine(visual["cuda"][i].cpu().float(), visual["cpu"][i].float()) for i in images), 6)
    on_cpu, on_cuda = placed_on_cpu(file, library, questions, visual["cuda"])
    row["cpu_nodes"] = on_cpu
    row["ours"] = {name: n for name, n in on_cuda.items() if name in OURS}
    decoder = Decoder(file, library, BATCH, 200)
    got, logits = ask(decoder, questions, visual["cuda"], False)
    row["right"] = right(got, questions)
    row["cosine_to_transformers"] = round(cosine(logits, wanted), 6)
    row["max_error_to_transformers"] = round(float((logits - wanted).abs().max()), 3)
    adapted = any(name.startswith("lora_") for name in decoder.inputs)
    if decoder.kind != "continuous":
        graphed, _ = ask(Decoder(file, library, BATCH, 200, graph=True), questions, visual["cuda"], False)
        row["same_with_cuda_graphs"] = graphed == got
        if graphed != got:
            wrong.append("CUDA graphs change tokens")
    try:
        on_host = Decoder(file, None, BATCH, 200, device="cpu")
    except Exception as error:  # bfloat16: the CPU provider has no kernels
        row["cpu"] = str(error).splitlines()[0][:120]
        expected = len(questions)
    else:
        theirs, host_logits = ask(on_host, questions, visual["cpu"], False)
        expected = row["right_on_cpu"] = right(theirs, questions)
        row["cosine_to_cpu"] = round(cosine(logits, host_logits), 6)
        if adapted:
            mixed, _ = ask(decoder, questions, visual["cuda"], True)
            host, _ = ask(on_host, questions, visual["cpu"], True)
            row["adapter_changes"] = sum(a != b for a, b in zip(mixed, got))
            row["adapter_equal_to_cpu"] = sum(a == b for a, b in zip(mixed, host))
            if row["adapter_equal_to_cpu"] < 0.98 * len(questions):
                wrong.append("answers with adapters differ from the CPU's")
    if row["right"] < expected - POINTS / 100 * len(questions):
        wrong.append(f"{row['right']} right answers for {expected}")
    row["seconds"] = round(time.time() - started, 1)
    return {**row, "wrong": wrong}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library")
    parser.add_argument("engines", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--questions", type=int, default=200)
    options = parser.parse_args()
    if not (options.engines / "prompts.json").exists():
        parser.error(f"{options.engines} is not what ort_engines.py wrote: it has no prompts.json")
    questions = json.loads((options.engines / "prompts.json").read_text())[: options.questions]
    stored = np.load(options.engines / "prompts.npz")
    wanted = torch.tensor(stored["logits"][: options.questions])
    names = options.names or sorted(f.parent.parent.name for f in options.engines.glob("*/llm/rank0.onnx") if f.parent.parent.name != "float32")
    failed = 0
    for name in names:
        try:
            row = check(options.engines / name, options.library, questions, stored, wanted)
        except Exception as error:  # the others still run
            row = {"engine": name, "wrong": [f"{type(error).__name__}: {str(error)[:600]}"]}
        failed += bool(row["wrong"])
        print(json.dumps(row), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

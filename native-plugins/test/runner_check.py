"""Asks a native runner the questions that scripts/export-runner-check.ts has written, with the standard library alone:

python3 runner_check.py RUNNER CHECK_DIR… [--device cuda] [--runtime_library FILE] [--plugins FILE] [--cuda_graph] [--batch N] [--agree 0.995]

For each directory a line of JSON: how many answers have the expected tokens, how many are right as the session on the CPU was right, and
times. Exit code 1 where fewer than --agree of the answers agree, or a request fails."""

import argparse
import json
import os
import struct
import subprocess
import sys
import time

PROTOCOL = 2


class Runner:
    """A runner in a process of its own, spoken to in frames (native-plugins/runner/frame.h)."""

    def __init__(self, file):
        self.process = subprocess.Popen([file], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        hello = self.receive()
        if hello["kind"] != "hello" or hello["protocol"] != PROTOCOL:
            sys.exit(f"{file} speaks protocol {hello.get('protocol')}; this script speaks {PROTOCOL}")

    def send(self, header, payload=b""):
        text = json.dumps(header).encode()
        self.process.stdin.write(b"MTR1" + struct.pack("<IQ", len(text), len(payload)) + text + payload)
        self.process.stdin.flush()

    def receive(self):
        prefix = self.process.stdout.read(16)
        if len(prefix) < 16 or prefix[:4] != b"MTR1":
            sys.exit(f"the runner ended with exit code {self.process.wait()}")
        length, payload = struct.unpack("<IQ", prefix[4:])
        header = json.loads(self.process.stdout.read(length))
        self.process.stdout.read(payload)
        return header

    def answer(self, kind):
        """The next message of a kind; tokens that come before it are in it."""
        while True:
            header = self.receive()
            if header["kind"] == "problem":
                one = header["problems"][0]
                raise RuntimeError("{code}: {what} ({why}; {fix})".format(**one))
            if header["kind"] == kind:
                return header

    def close(self):
        self.process.stdin.close()
        return self.process.wait()


def open_message(check, folder, args):
    engine = args.engine_dir or os.path.join(folder, check["engine_dir"])
    message = dict(check["open"], device=args.device, device_index=args.device_index, plugins=args.plugins or "", threads=args.threads)
    if args.runtime_library:
        message["runtime_libraries"] = [args.runtime_library]
    elif args.device == "cuda":
        message["runtime_libraries"] = ["libonnxruntime.so.1", "libonnxruntime.so"]
    records = args.cuda_graph and message["model"]["kv_cache_type"] != "continuous"
    message["ranks"] = [
        [dict(one, file=os.path.join(engine, one["file"]), records_steps=records and one["name"] == "llm") for one in rank]
        for rank in message["ranks"]
    ]
    return message


def merged(requests, vocab, folder):
    """Several requests as one batch: rows of the prompt table follow one another as the pictures do."""
    header = dict(requests[0]["header"], prompts=[], seen=[], tasks=[])
    payload, shape, rows = b"", None, 0
    for request in requests:
        own = request["header"]
        header["prompts"] += [[id + rows if id >= vocab else id for id in prompt] for prompt in own["prompts"]]
        header["seen"] += own["seen"]
        header["tasks"] += own["tasks"]
        highest = max((id for prompt in own["prompts"] for id in prompt), default=0)
        rows += max(0, highest - vocab + 1)
        if request.get("pixels"):
            with open(os.path.join(folder, request["pixels"]["file"]), "rb") as file:
                payload += file.read()
            images, *rest = request["pixels"]["shape"]
            shape = [images + (shape[0] if shape else 0), *rest]
    if shape:
        header["tensors"] = [{"name": "pixels", "dtype": "float32", "shape": shape}]
    return header, payload


def percentile(values, share):
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * len(ordered) * 1000) // 1000) - 1)] if ordered else None


def check_folder(args, folder):
    with open(os.path.join(folder, "check.json")) as file:
        check = json.load(file)
    runner = Runner(args.runner)
    begin = time.time()
    runner.send(open_message(check, folder, args))
    ready = runner.answer("ready")
    opened = time.time() - begin
    vocab = check["open"]["model"]["vocab"]
    requests, agree, right, knew, first = check["requests"], 0, 0, 0, None
    prefill, decode, visual, memory = [], [], [], {}
    for at in range(0, len(requests), args.batch):
        some = requests[at : at + args.batch]
        header, payload = merged(some, vocab, folder)
        runner.send(header, payload)
        result = runner.answer("result")
        answers = [output["token_ids"] for output in result["outputs"]]
        for request, answer in zip(some, answers):
            same = answer == request["expected"][0]
            agree, right, knew = agree + same, right + (same and request["right"]), knew + request["right"]
            if not same and first is None:
                first = {"expected": request["expected"][0], "answered": answer}
        prefill.append(result["prefill_ms"])
        visual.append(result["visual_ms"])
        decode += result["decode_ms"]
        memory = result["memory"]
    code = runner.close()
    report = {
        "check": folder, "runtime": ready["runtime"], "device": ready["device"], "open_s": round(opened, 2), "questions": len(requests),
        "agree": agree, "right": right, "right_on_cpu": knew, "first_difference": first, "visual_ms_p50": percentile(visual, 0.5),
        "prefill_ms_p50": percentile(prefill, 0.5), "decode_ms": {f"p{int(s * 100)}": percentile(decode, s) for s in (0.5, 0.9, 0.99)},
        "memory": memory, "exit": code,
    }
    print(json.dumps(report), flush=True)
    return code == 0 and agree >= args.agree * len(requests)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runner")
    parser.add_argument("checks", nargs="+")
    parser.add_argument("--engine_dir", help="where the engines are, if not where they were exported from")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--device_index", type=int, default=0)
    parser.add_argument("--runtime_library")
    parser.add_argument("--plugins")
    parser.add_argument("--cuda_graph", action="store_true")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--agree", type=float, default=0.995)
    args = parser.parse_args()
    good = True
    for folder in args.checks:
        try:
            good = check_folder(args, folder) and good
        except RuntimeError as error:
            print(json.dumps({"check": folder, "problem": str(error)}), flush=True)
            good = False
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()

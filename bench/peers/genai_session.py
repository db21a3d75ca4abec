"""onnxruntime-genai in turns: a line of JSON in, a line of JSON out. The peer of bench/subjects/session.ts.

usage: genai_session.py MODEL_DIR THREADS MAX_LENGTH
  {"prefill": [ids]}  a new sequence; its milliseconds, those of the processor, and the first token
  {"decode": n}       n more tokens; the same of them
"""

import json
import sys
import time

import onnxruntime_genai as og

directory, threads, max_length = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
began = time.perf_counter()
config = og.Config(directory)
config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}))
model = og.Model(config)
loaded = (time.perf_counter() - began) * 1000
print(json.dumps({"ready": loaded, "version": og.__version__}), flush=True)

generator = None
for line in sys.stdin:
    ask = json.loads(line)
    began, worked = time.perf_counter(), time.process_time()
    if "prefill" in ask:
        params = og.GeneratorParams(model)
        params.set_search_options(do_sample=False, max_length=max_length, min_length=max_length, early_stopping=False)
        generator = og.Generator(model, params)
        generator.append_tokens(ask["prefill"])
        generator.generate_next_token()
        tokens = [int(generator.get_next_tokens()[0])]
    else:
        tokens = []
        for _ in range(ask["decode"]):
            generator.generate_next_token()
            tokens.append(int(generator.get_next_tokens()[0]))
    took = {"ms": (time.perf_counter() - began) * 1000, "cpu": (time.process_time() - worked) * 1000}
    print(json.dumps({**took, "tokens": tokens}), flush=True)

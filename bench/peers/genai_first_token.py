"""A process that answers one prompt with one token through onnxruntime-genai, its tokenizer included.

usage: genai_first_token.py MODEL_DIR THREADS TEXT
"""

import json
import sys

import onnxruntime_genai as og

config = og.Config(sys.argv[1])
config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": int(sys.argv[2])}}}}))
model = og.Model(config)
tokenizer = og.Tokenizer(model)
ids = tokenizer.encode(sys.argv[3])
params = og.GeneratorParams(model)
params.set_search_options(do_sample=False, max_length=len(ids) + 1)
generator = og.Generator(model, params)
generator.append_tokens(ids)
generator.generate_next_token()
print(tokenizer.decode([int(generator.get_next_tokens()[0])]), flush=True)

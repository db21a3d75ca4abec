"""The least a program can do to build an engine: the yardstick of bench/engine.bench.ts.

usage: baseline_build.py REQUEST.json, a request of native-plugins/driver. Prints { parse, build, write } in seconds.
"""

import importlib
import json
import sys
import time

with open(sys.argv[1], encoding="utf-8") as file:
    request = json.load(file)
for module in ("tensorrt_rtx", "tensorrt_rtx_bindings"):
    try:
        trt = importlib.import_module(module)
        if hasattr(trt, "Builder"):
            break
    except ImportError:
        pass

began = time.monotonic()
logger = trt.Logger(trt.Logger.ERROR)
builder = trt.Builder(logger)
network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
parser = trt.OnnxParser(network, logger)
assert parser.parse_from_file(request["onnx"])
parsed = time.monotonic()
config = builder.create_builder_config()
sms = request["compute_capabilities"]
config.num_compute_capabilities = len(sms)
for index, sm in enumerate(sms):
    config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{sm}"), index)
for wanted in request["profiles"]:
    profile = builder.create_optimization_profile()
    for name, shape in wanted["shapes"].items():
        profile.set_shape(name, shape["min"], shape["opt"], shape["max"])
    config.add_optimization_profile(profile)
plan = builder.build_serialized_network(network, config)
assert plan
built = time.monotonic()
with open(request["engine"], "wb") as file:
    file.write(plan)
print(json.dumps({"parse": parsed - began, "build": built - parsed, "write": time.monotonic() - built}))

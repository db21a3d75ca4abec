"""One build: parse, check, configure, build, write. TensorRT's own objects are used here and in describe.py alone."""

import ctypes
import os
import time

from . import checks, describe, limits
from .callbacks import callbacks
from .config import add_profiles, configure, save_timing_cache
from .events import Failure, problem
from .files import place_problems, write
from .memory import memory_mib
from .onnx_scan import node_count


def build(request, target, events, keep):
    """Builds and writes the engine, emits `network`, `memory` and `engine`. `keep` receives the logger, whose messages explain a failure."""
    began = time.monotonic()
    refuse([*limits.request_problems(request, target), *place_problems(request["engine"])])
    logger, monitor, progress = callbacks(target, events, request["verbose"])
    keep["logger"] = logger
    load_plugins(request, target, logger)
    events.emit("memory", stage="loaded", **memory_mib())
    builder = target.trt.Builder(logger)
    if not builder:
        raise Failure("build")
    (network, _parser), inputs, outputs, layers = parse(request, target, events, builder, logger)
    parsed = time.monotonic()
    events.emit("memory", stage="parsed", **memory_mib())
    config = configure(request, target, events, builder)
    config.progress_monitor = monitor
    profiles = add_profiles(request, builder, config, inputs)
    # Streaming the plan would save its size in memory, and costs a copy of every part: a fifth more processor time.
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise Failure("build")
    built = time.monotonic()
    events.emit("memory", stage="built", **memory_mib())
    write(request["engine"], plan)
    save_timing_cache(request, target, config)
    progress.written()
    report = summary(request, target, logger, plan.nbytes, inputs + outputs, profiles, layers)
    report["seconds"] = {"parse": round(parsed - began, 3), "build": round(built - parsed, 3), "write": round(time.monotonic() - built, 3)}
    events.emit("engine", **report)


def refuse(problems):
    problems = list(problems)
    if problems:
        raise Failure("check", problems)


def load_plugins(request, target, logger):
    trt = target.trt
    if hasattr(trt, "init_libnvinfer_plugins"):
        trt.init_libnvinfer_plugins(logger, "")
    for plugin in request["plugins"]:
        file, load = plugin["file"], plugin.get("load", "dynamic")
        try:
            if load == "static":
                ctypes.CDLL(os.path.abspath(file), mode=ctypes.RTLD_GLOBAL)
                loaded = True
            else:
                loaded = trt.get_plugin_registry().load_library(os.path.abspath(file)) is not None
        except OSError as error:
            logger.log(1, str(error))
            loaded = False
        if not loaded:
            raise Failure("plugins", [plugin_problem(file, logger)])


def plugin_problem(file, logger):
    said = "; ".join(m["text"] for m in logger.messages if m["severity"] != "warning")
    return problem(
        "TRT014",
        f"the plugin library {file} cannot be loaded" + (f": {said}" if said else ""),
        "plugins",
        "TensorRT opens it with the dynamic loader and asks it for its creators",
        f"check with: ldd {file}" if os.path.exists(file) else "give the path of a library that exists",
    )


def parse(request, target, events, builder, logger):
    trt = target.trt
    flags = trt.NetworkDefinitionCreationFlag
    # TensorRT 11 has no other kind of network and may drop the flag.
    strong = 1 << int(flags.STRONGLY_TYPED) if hasattr(flags, "STRONGLY_TYPED") else 0
    network = builder.create_network(strong)
    parser = trt.OnnxParser(network, logger)
    logger.nodes = node_count(request["onnx"]) or 0
    if not parser.parse_from_file(os.path.abspath(request["onnx"])):
        raise Failure("parse", parser=[parser_error(parser.get_error(index)) for index in range(parser.num_errors)])
    found = describe.tensors(network, target)
    inputs = [tensor for tensor in found if tensor["kind"] == "input"]
    outputs = [tensor for tensor in found if tensor["kind"] == "output"]
    types, dtypes = describe.layers(network, target)
    events.emit("network", inputs=inputs, outputs=outputs, layers=types)
    refuse([*limits.graph_problems(dtypes, request, target), *checks.profile_problems(request["profiles"], inputs)])
    # The parser owns weights that the network refers to, so the caller keeps both.
    return (network, parser), inputs, outputs, types


def parser_error(error):
    return {
        "code": str(error.code()).rsplit(".", maxsplit=1)[-1],
        "text": error.desc(),
        "node": error.node_name(),
        "op": error.node_operator(),
        "file": error.file(),
        "line": error.line(),
        "function": error.func(),
    }


def summary(request, target, logger, size, found, profiles, layers):
    source, tensors, ranges, engine_layers = describe.read_engine_text(logger.engine_text, found)
    opened = describe.open_engine(target, logger, request["engine"])
    if opened:
        source, tensors, ranges = "engine", opened["tensors"], opened["profiles"]
    if ranges is not None:
        profiles = [{"name": taken["name"], "shapes": shapes} for taken, shapes in zip(profiles, ranges)]
    return {
        "file": request["engine"],
        "bytes": size,
        "version": target.version,
        "io": {"from": source, "tensors": [{k: v for k, v in t.items() if k != "dims"} for t in tensors]},
        "profiles": profiles,
        "layers": layers,
        "engine_layers": engine_layers,
        "sms": describe.engine_sms(request["engine"]),
        "memory_bytes": {**logger.memory, **({"activation": opened["device_memory"]} if opened else {})},
        "peak_host_mib": memory_mib()["peak_mib"],
        "warnings": [m["text"] for m in logger.messages if m["severity"] == "warning"],
    }

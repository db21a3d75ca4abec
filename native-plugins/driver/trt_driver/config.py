"""The builder's configuration: flags, limits, targets, timing cache, profiles."""

import os

from . import describe
from .events import Failure, problem
from .files import write


def configure(request, target, events, builder):
    trt = target.trt
    config = builder.create_builder_config()
    flag = trt.BuilderFlag
    wanted = {
        "WEIGHT_STREAMING": request["weight_streaming"],
        "REFIT": request["refit"],
        "STRIP_PLAN": request["strip_weights"],
        # Stripped weights must come back by a refit: with other weights (REFIT) or the same ones.
        "REFIT_IDENTICAL": request["strip_weights"] and not request["refit"],
        "VERSION_COMPATIBLE": request["version_compatible"],
    }
    for name, on in wanted.items():
        if on:
            config.set_flag(getattr(flag, name))
    if request["optimization_level"] is not None:
        config.builder_optimization_level = request["optimization_level"]
    if request["workspace_mib"] is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request["workspace_mib"] << 20)
    config.profiling_verbosity = getattr(trt.ProfilingVerbosity, request["profiling_verbosity"].upper())
    if target.rtx and request["compute_capabilities"]:
        config.num_compute_capabilities = len(request["compute_capabilities"])
        for index, sm in enumerate(request["compute_capabilities"]):
            config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{sm}"), index)
    aliases = getattr(getattr(trt, "PreviewFeature", None), "ALIASED_PLUGIN_IO_10_03", None)
    if request["aliased_plugin_io"] and aliases is not None:
        config.set_preview_feature(aliases, True)
    carried = [os.path.abspath(plugin["file"]) for plugin in request["plugins"] if plugin.get("load") == "serialize"]
    if carried:
        config.plugins_to_serialize = carried
    load_timing_cache(request, target, events, config)
    return config


def load_timing_cache(request, target, events, config):
    path = request["timing_cache"]
    if not path:
        return
    if target.rtx:
        events.emit("warning", problem=ignored_cache(path))
        return
    data = b""
    if os.path.exists(path):
        with open(path, "rb") as file:
            data = file.read()
    cache = config.create_timing_cache(data)
    if cache is None or not config.set_timing_cache(cache, False):
        # Made by another version or GPU: the build then times from nothing, and its cache replaces the file.
        config.set_timing_cache(config.create_timing_cache(b""), False)


def ignored_cache(path):
    return problem(
        "TRT012",
        "the timing cache has no effect with TensorRT-RTX",
        f"timing_cache {path}",
        "TensorRT-RTX picks kernels without timing them and finishes the choice when the engine first runs",
        "leave timing_cache out",
    )


def save_timing_cache(request, target, config):
    if request["timing_cache"] and not target.rtx:
        cache = config.get_timing_cache()
        if cache is not None:
            write(request["timing_cache"], cache.serialize())


def add_profiles(request, builder, config, inputs):
    taken = []
    for index, wanted in enumerate(request["profiles"]):
        profile = builder.create_optimization_profile()
        for name, shape in wanted["shapes"].items():
            profile.set_shape(name, shape["min"], shape["opt"], shape["max"])
        if config.add_optimization_profile(profile) != index:
            raise Failure("profiles", profile=index)
        taken.append(describe.read_profile(profile, wanted.get("name") or str(index), inputs))
    return taken

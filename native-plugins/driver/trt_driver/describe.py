"""What the parsed network and the built engine hold, read back from TensorRT."""

import re
from collections import Counter

# With detailed verbosity TensorRT logs every input and output of the engine it has just built, with the profiles' ranges.
_BINDING = re.compile(
    r"^ ?Name: (.+), IOMode: (Input|Output), DataType: (\w+), Dimensions: \[([-\d,]*)\], Location: (\w+),.* ProfileInfo: \[(.*)\]$"
)
_RANGE = re.compile(r"(Min|Opt|Max)Shape: \[([-\d,]*)\]")
_LAYER_TYPE = re.compile(r"^Name: .+?, LayerType: (\w+),", re.MULTILINE)
# Otherwise one line a layer: `Layer(Myelin): name, Tactic: 0x0, x (Half[-1,-1,19]) -> y (Half[-1,-1,7])`.
_ENGINE_TENSOR = re.compile(r"(\S+) \((\w+)\[([-\d,]*)\]\)")
_ENGINE_DTYPES = {
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Int8": "int8",
    "Int32": "int32",
    "Int64": "int64",
    "Bool": "bool",
    "UInt8": "uint8",
    "FP8": "float8_e4m3fn",
}
# Compiled kernels say which GPUs they are for; the text stands in the engine's first part, before the weights.
_SMS = re.compile(rb"accelerators=\{([^}]{0,200})\}")
_SM_SEARCH_BYTES = 64 << 20

ENGINE_TEXTS = ("Layers:\n", "Engine Layer Information:")


def tensors(network, target):
    """[{ name, kind, dtype, shape, dims }] of the network's inputs and outputs, in the graph's order."""
    found = []
    for kind, count, get in (("input", network.num_inputs, network.get_input), ("output", network.num_outputs, network.get_output)):
        for tensor in map(get, range(count)):
            shape = [int(size) for size in tensor.shape]
            found.append(
                {
                    "name": tensor.name,
                    "kind": kind,
                    "dtype": target.dtype(tensor.dtype),
                    "shape": shape,
                    "dims": [tensor.get_dimension_name(axis) for axis in range(len(shape))] if kind == "input" else [],
                    "location": "host" if tensor.is_shape_tensor else "device",
                }
            )
    return found


def layers(network, target):
    """(count of layers by TensorRT's type name, set of dtypes any tensor of the graph has)."""
    types, dtypes = Counter(), set()
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        types[str(layer.type).rsplit(".", maxsplit=1)[-1]] += 1
        for output in map(layer.get_output, range(layer.num_outputs)):
            if output is not None:
                dtypes.add(target.dtype(output.dtype))
    for index in range(network.num_inputs):
        dtypes.add(target.dtype(network.get_input(index).dtype))
    return dict(sorted(types.items())), dtypes


def read_profile(profile, name, inputs):
    """A profile as TensorRT took it: the ranges are asked back from its object, not repeated from the request."""
    shapes = {}
    for tensor in inputs:
        ranges = profile.get_shape(tensor["name"])
        if ranges:
            shapes[tensor["name"]] = {end: [int(n) for n in sizes] for end, sizes in zip(("min", "opt", "max"), ranges)}
    return {"name": name, "shapes": shapes}


def read_engine_text(text, found):
    """(source, tensors, profiles or None, layers by type) of the built engine, from what TensorRT logged about it.

    source: "engine" when inputs, outputs and profiles are all there, "engine_log" when every input and output of the
    network (`found`) appears with its dtype and shape, "network" when the text says nothing (verbosity none).
    """
    bindings = [match.groups() for match in map(_BINDING.match, text.splitlines()) if match]
    if bindings:
        tensors = [
            {"name": name, "kind": mode.lower(), "dtype": _dtype(dtype), "shape": _sizes(shape), "location": location.lower()}
            for name, mode, dtype, shape, location, _ in bindings
        ]
        return "engine", tensors, _profiles(bindings), dict(sorted(Counter(_LAYER_TYPE.findall(text)).items()))
    lines = [line for line in text.splitlines() if line.startswith("Layer(") and "[profile " not in line]
    types = Counter(line[len("Layer(") : line.index(")")] for line in lines if ")" in line)
    seen = _line_tensors(lines)
    agree = bool(seen) and all(_agrees(t, seen.get(t["name"])) for t in found)
    return "engine_log" if agree else "network", found, None, dict(sorted(types.items()))


def _agrees(tensor, seen):
    """A size that is dynamic in the network is printed as a number where the first profile fixes it."""
    if seen is None or seen[0] != tensor["dtype"] or len(seen[1]) != len(tensor["shape"]):
        return False
    return all(size in (-1, printed) for size, printed in zip(tensor["shape"], seen[1]))


def _profiles(bindings):
    """[{ input: { min, opt, max } }], one for each profile."""
    profiles = []
    for name, mode, _, _, _, infos in bindings:
        for index, info in enumerate(infos.split("}, {") if mode == "Input" else ()):
            while len(profiles) <= index:
                profiles.append({})
            profiles[index][name] = {end.lower(): _sizes(sizes) for end, sizes in _RANGE.findall(info)}
    return profiles


def _line_tensors(lines):
    """{ name: (dtype, shape) } of every tensor in the one-line form."""
    seen = {}
    for line in lines:
        # The layer's own name may hold commas and brackets; the tensors follow its tactic.
        for name, dtype, sizes in _ENGINE_TENSOR.findall(line.partition(", Tactic: ")[2]):
            seen[name] = (_dtype(dtype), _sizes(sizes))
    return seen


def _dtype(name):
    return _ENGINE_DTYPES.get(name, name.lower())


def _sizes(text):
    return [int(size) for size in text.split(",") if size]


def engine_sms(path):
    """SMs whose compiled kernels the engine carries (TensorRT-RTX), from the text in the plan; [] when it holds none."""
    found = set()
    with open(path, "rb") as file:
        start = file.read(_SM_SEARCH_BYTES)
    for match in _SMS.finditer(start):
        found.update(int(sm) for sm in re.findall(rb"sm(\d{2,3})", match.group(1)))
    return sorted(found)


def open_engine(target, logger, path):
    """Inputs and outputs, profiles and memory from the opened engine; None where it cannot be opened (no GPU)."""
    if not target.gpus:
        return None
    with open(path, "rb") as file:
        engine = target.trt.Runtime(logger).deserialize_cuda_engine(file.read())
    if engine is None:
        return None
    mode = target.trt.TensorIOMode
    found = []
    for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
        kind = "input" if engine.get_tensor_mode(name) == mode.INPUT else "output"
        shape = [int(size) for size in engine.get_tensor_shape(name)]
        found.append({"name": name, "kind": kind, "dtype": target.dtype(engine.get_tensor_dtype(name)), "shape": shape})
    profiles = []
    for index in range(engine.num_optimization_profiles):
        ranges = {t["name"]: engine.get_tensor_profile_shape(t["name"], index) for t in found if t["kind"] == "input"}
        profiles.append({n: {e: [int(v) for v in s] for e, s in zip(("min", "opt", "max"), r)} for n, r in ranges.items()})
    return {"tensors": found, "profiles": profiles, "device_memory": int(engine.device_memory_size_v2)}

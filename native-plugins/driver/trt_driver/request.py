"""The request: one JSON object, every key known and of its type before anything heavy is imported."""

import difflib
import json
import sys

from .events import Failure, problem

# TensorRT itself refuses more than 8 dimensions; a request with more is not about a tensor.
MAX_RANK = 8
# The largest real request (two profiles of a 128-layer decoder) is about 200 KB.
MAX_REQUEST_BYTES = 16 << 20

VERBOSITIES = ("layer_names_only", "detailed", "none")
PLUGIN_LOADS = ("dynamic", "static", "serialize")

_WHOLE = "a whole number ≥ 0"
_FIELDS = {
    "onnx": (str, "a path", True),
    "engine": (str, "a path", True),
    "profiles": (list, "a list of { name, shapes }", False),
    "compute_capabilities": (list, "a list of SM numbers such as 86", False),
    "optimization_level": (int, "a whole number from 0 to 5", False),
    "workspace_mib": (int, _WHOLE, False),
    "timing_cache": (str, "a path", False),
    "profiling_verbosity": (str, " | ".join(VERBOSITIES), False),
    "weight_streaming": (bool, "true or false", False),
    "refit": (bool, "true or false", False),
    "strip_weights": (bool, "true or false", False),
    "version_compatible": (bool, "true or false", False),
    "aliased_plugin_io": (bool, "true or false", False),
    "plugins": (list, "a list of { file, load }", False),
    "time_limit_seconds": ((int, float), "a number > 0", False),
    "parent_pid": (int, "the number of a process", False),
    "verbose": (bool, "true or false", False),
}
_DEFAULTS = {
    "profiles": [],
    "compute_capabilities": [],
    # The engine then describes its own inputs, outputs and profiles, which is the one way to read them back without a GPU.
    "profiling_verbosity": "detailed",
    "weight_streaming": False,
    "refit": False,
    "strip_weights": False,
    "version_compatible": False,
    "aliased_plugin_io": False,
    "plugins": [],
    "verbose": False,
}


def read_request(path):
    """Request from `path`, or from standard input when it is "-". Raises Failure with every problem found."""
    text = _text(path)
    try:
        given = json.loads(text)
    except ValueError as error:
        raise Failure("request", [_bad(path, f"is not JSON: {error}")], exit_code=2) from None
    if not isinstance(given, dict):
        raise Failure("request", [_bad(path, "is not a JSON object")], exit_code=2)
    unknown, wrong = list(_unknown_keys(given, path)), list(_field_problems(given, path))
    problems = unknown + wrong + ([] if wrong else list(_value_problems(given, path)))
    if problems:
        raise Failure("request", problems, exit_code=2)
    return {**_DEFAULTS, **{key: given.get(key) for key in _FIELDS if key not in _DEFAULTS}, **given}


def _text(path):
    try:
        if path == "-":
            return sys.stdin.read(MAX_REQUEST_BYTES + 1)
        with open(path, encoding="utf-8") as file:
            return file.read(MAX_REQUEST_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise Failure("request", [_bad(path, f"cannot be read: {error}")], exit_code=2) from None


def _bad(path, what, key=""):
    where = "standard input" if path == "-" else path
    return problem(
        "TRT010",
        f"the build request {what}",
        f"{where}: {key}" if key else where,
        "the driver builds exactly what one JSON object asks for",
        "give onnx, engine and profiles; README.md beside the driver lists every key",
    )


def _unknown_keys(given, path):
    for key in given:
        if key not in _FIELDS:
            near = difflib.get_close_matches(key, _FIELDS, n=1)
            yield _bad(path, f"has the unknown key {key}" + (f"; did you mean {near[0]}?" if near else ""), key)


def _field_problems(given, path):
    for key, (kind, expected, required) in _FIELDS.items():
        value = given.get(key)
        if value is None:
            if required:
                yield _bad(path, f"has no {key}; expected {expected}", key)
        elif not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            yield _bad(path, f"has {key} = {value!r}; expected {expected}", key)


def _value_problems(given, path):
    level = given.get("optimization_level")
    if level is not None and not 0 <= level <= 5:
        yield _bad(path, f"has optimization_level {level}; expected 0 to 5", "optimization_level")
    if (given.get("workspace_mib") or 0) < 0:
        yield _bad(path, f"has workspace_mib {given['workspace_mib']}; expected {_WHOLE}", "workspace_mib")
    limit = given.get("time_limit_seconds")
    if limit is not None and not 0 < limit < 1e9:
        yield _bad(path, f"has time_limit_seconds {limit}; expected a number > 0", "time_limit_seconds")
    parent = given.get("parent_pid")
    if parent is not None and not 0 < parent < 2**31:
        yield _bad(path, f"has parent_pid {parent}; expected the number of a process", "parent_pid")
    if given.get("profiling_verbosity", "none") not in VERBOSITIES:
        yield _bad(path, f"has profiling_verbosity {given['profiling_verbosity']!r}", "profiling_verbosity")
    for index, sm in enumerate(given.get("compute_capabilities") or []):
        if not _whole(sm):
            yield _bad(path, f"has the compute capability {sm!r}; expected an SM number such as 86", f"compute_capabilities[{index}]")
    for index, plugin in enumerate(given.get("plugins") or []):
        if not isinstance(plugin, dict) or not isinstance(plugin.get("file"), str) or plugin.get("load", "dynamic") not in PLUGIN_LOADS:
            yield _bad(path, f"has a plugin that is not {{ file, load: {' | '.join(PLUGIN_LOADS)} }}", f"plugins[{index}]")
    for index, profile in enumerate(given.get("profiles") or []):
        yield from _profile_problems(profile, path, f"profiles[{index}]")


def _profile_problems(profile, path, at):
    if not isinstance(profile, dict) or not isinstance(profile.get("shapes"), dict):
        yield _bad(path, "has a profile that is not { name, shapes }", at)
        return
    for name, shape in profile["shapes"].items():
        ranges = [shape.get(end) for end in ("min", "opt", "max")] if isinstance(shape, dict) else []
        good = len(ranges) == 3 and all(
            isinstance(r, list) and len(r) <= MAX_RANK and all(_whole(size) for size in r) for r in ranges
        )
        if not good or len({len(r) for r in ranges}) != 1:
            yield _bad(path, f"has no usable min, opt and max for {name}", f"{at}.shapes.{name}")


def _whole(value):
    # Sizes are 64-bit in TensorRT; beyond that the bindings raise a TypeError instead of an answer.
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63

"""Profiles against the parsed graph. TensorRT ignores unknown names and checks the sizes together only at opt."""

import difflib
import re

from .events import problem

ENDS = ("min", "opt", "max")


def profile_problems(profiles, inputs):
    """`inputs`: [{ name, shape (−1 is dynamic), dims ([name or None]) }]. Yields every problem of every profile."""
    by_name = {tensor["name"]: tensor for tensor in inputs}
    dynamic = [tensor["name"] for tensor in inputs if -1 in tensor["shape"]]
    if dynamic and not profiles:
        yield problem(
            "TRT002",
            f"no optimization profile is given, and {', '.join(dynamic)} have dynamic sizes",
            "profiles",
            "TensorRT plans kernels and memory for ranges of sizes, which a profile states",
            "give at least one profile with min, opt and max of each",
        )
    for index, profile in enumerate(profiles):
        label = f"profile {index} ({profile.get('name') or 'unnamed'})"
        for name, shape in profile["shapes"].items():
            if name not in by_name:
                yield _unknown(name, by_name, label)
            else:
                yield from _range_problems(by_name[name], shape, label)
        for name in dynamic:
            if name not in profile["shapes"]:
                yield problem(
                    "TRT002",
                    f"{label} has no range for {name} {by_name[name]['shape']}",
                    label,
                    "every dynamic input needs min, opt and max in every profile",
                    f"add {name} to {label}",
                )
        yield from _sum_problems(profile["shapes"], by_name, label)


def _unknown(name, by_name, label):
    near = difflib.get_close_matches(name, by_name, n=1)
    return problem(
        "TRT001",
        f"{label} names the input {name}, which the graph does not have",
        label,
        "TensorRT ignores a range for an unknown name without a word, and the input meant keeps no range",
        (f"write {near[0]}; " if near else "") + f"the graph's inputs are {', '.join(by_name) or 'none'}",
    )


def _range_problems(tensor, shape, label):
    sizes = tensor["shape"]
    at = f"{label}, {tensor['name']}"
    if len(shape["min"]) != len(sizes):
        yield _misfit(at, f"{tensor['name']} has {len(sizes)} dimensions, the range has {len(shape['min'])}", f"give {len(sizes)} sizes")
        return
    for axis, size in enumerate(sizes):
        low, best, high = (shape[end][axis] for end in ENDS)
        if not low <= best <= high:
            yield _misfit(at, f"{tensor['name']} axis {axis} has min {low}, opt {best}, max {high}", "make min ≤ opt ≤ max")
        elif size >= 0 and not low == best == high == size:
            yield _misfit(at, f"{tensor['name']} axis {axis} is fixed at {size} in the graph, the range is {low}…{best}…{high}", f"give {size} three times")


def _misfit(at, what, fix):
    return problem("TRT003", what, at, "a profile states the sizes an input may have, lowest, usual and highest", fix)


def _sum_problems(shapes, by_name, label):
    """Dimensions of one name are one size; "past + seq" is the sum. Checked at min, opt and max."""
    for end in ENDS:
        sizes, first = {}, {}
        dims = [
            (tensor["name"], axis, dim, shapes[tensor["name"]][end][axis])
            for tensor in by_name.values()
            if tensor["name"] in shapes and len(shapes[tensor["name"]][end]) == len(tensor["shape"])
            for axis, dim in enumerate(tensor["dims"])
            if dim
        ]
        for name, axis, dim, size in dims:
            if dim not in sizes:
                sizes[dim], first[dim] = size, f"{name} axis {axis}"
            elif sizes[dim] != size:
                yield _contradiction(label, end, f"{dim} is {sizes[dim]} in {first[dim]} and {size} in {name} axis {axis}", f"give both the same {end}")
        for name, axis, dim, size in dims:
            total = evaluate(dim, sizes)
            if total is not None and total != size:
                parts = ", ".join(f"{part} = {sizes[part]}" for part in names(dim))
                yield _contradiction(label, end, f"{name} axis {axis} is {size}, but {dim} is {total} ({parts})", f"give {name} axis {axis} {end} {total}")


def _contradiction(label, end, what, fix):
    return problem(
        "TRT004",
        f"{label} contradicts itself at {end}: {what}",
        f"{label}, {end}",
        "the graph combines these inputs, so their sizes must agree; TensorRT fails on this at opt and keeps silent at min and max",
        fix,
    )


def names(dim):
    """The names in "2*past + seq + 1": past, seq."""
    return re.findall(r"[A-Za-z_][\w.]*", dim)


def evaluate(dim, sizes):
    """The value of a sum of products of names and whole numbers; None for a plain name, or when a part is unknown."""
    if re.fullmatch(r"[A-Za-z_][\w.]*", dim):
        return None
    total = 0
    for term in dim.split("+"):
        product = 1
        for factor in term.split("*"):
            factor = factor.strip()
            if re.fullmatch(r"\d{1,18}", factor):
                product *= int(factor)
            elif factor in sizes:
                product *= sizes[factor]
            else:
                return None
        total += product
    return total

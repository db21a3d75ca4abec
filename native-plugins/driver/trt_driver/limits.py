"""What a target cannot build, refused with the reason before TensorRT fails in its own words."""

from .bindings import rtx_library_without_link
from .events import problem

# Element types that exist in hardware only from some SM on.
FIRST_SM = {"bfloat16": 80, "float8_e4m3fn": 89, "float8_e8m0fnu": 89, "float4_e2m1fn": 120}
# Left to choose by itself, TensorRT-RTX builds these into an engine that then fails on older GPUs when it runs.
NEEDS_NAMED_SMS = ("float8_e4m3fn", "float8_e8m0fnu", "float4_e2m1fn")


def _refuse(what, at, why, fix):
    return problem("TRT005", what, at, why, fix)


def request_problems(request, target):
    """Problems of the request on this target, known before the graph is read."""
    if not target.rtx and not target.gpus:
        yield problem(
            "ENV022",
            "TensorRT builds on a GPU, and this machine shows none",
            "the CUDA driver",
            "TensorRT times its kernels on the device while it builds",
            "--backend tensorrt_rtx, which builds without a GPU; or run where nvidia-smi lists one",
        )
    yield from _sm_problems(request, target)
    if target.rtx:
        yield from _rtx_problems(request, target)


def _sm_problems(request, target):
    sms = request["compute_capabilities"]
    known = target.known_sms()
    if target.rtx:
        for sm in sms:
            if sm not in known:
                yield _refuse(
                    f"{target.name} {target.version} cannot build for SM {sm}; it knows {', '.join(map(str, known))}",
                    "compute_capabilities",
                    "data-centre GPUs (SM 90, SM 100) are not among TensorRT-RTX's targets" if sm in (90, 100, 103) else "the library names its targets, and this is not one",
                    "--backend tensorrt on that GPU, or name other compute capabilities",
                )
        return
    other = [sm for sm in sms if target.gpus and sm not in {gpu["sm"] for gpu in target.gpus}]
    if other:
        yield _refuse(
            f"TensorRT cannot build for SM {', '.join(map(str, other))} on a machine whose GPU is SM {target.gpus[0]['sm']}",
            "compute_capabilities",
            "TensorRT's kernels are timed on the GPU that builds, and the engine is for that SM alone",
            "build on such a GPU, or --backend tensorrt_rtx, which compiles for SMs it does not have",
        )


def _rtx_problems(request, target):
    without_weights = [key for key in ("refit", "strip_weights") if request[key]]
    for key in without_weights if not target.gpus else ():
        yield _refuse(
            f"{key} cannot be built by TensorRT-RTX on a machine without a GPU",
            key,
            "kernels that read their weights from outside the engine are compiled for the GPU at hand",
            f"build on a machine with a GPU, or leave {key} out",
        )
    if without_weights and target.gpus and len(request["compute_capabilities"]) > 1:
        yield _refuse(
            f"{without_weights[0]} needs at most one compute capability, {len(request['compute_capabilities'])} are given",
            "compute_capabilities",
            "TensorRT-RTX compiles refittable kernels for a single SM",
            "one engine for each compute capability",
        )
    if request["version_compatible"]:
        yield _refuse(
            "version_compatible is not possible with TensorRT-RTX",
            "version_compatible",
            "such an engine carries TensorRT's lean runtime, which TensorRT-RTX does not have",
            "leave it out, or --backend tensorrt",
        )
    library = rtx_library_without_link() if request["plugins"] else None
    if library:
        yield problem(
            "ENV023",
            f"plugins would end this process: beside {library} there is no libtensorrt_rtx.so",
            "plugins",
            "the ONNX parser opens the library by that name when it adds a plugin, and the pip package leaves it out",
            f"ln -s libtensorrt_rtx.so.1 {library[: library.index('.so.')]}.so",
        )


def graph_problems(dtypes, request, target):
    """Problems of the parsed graph's element types with the SMs the engine is for."""
    if not target.rtx:
        yield from _too_old(dtypes, [gpu["sm"] for gpu in target.gpus[:1]], "the GPU of this machine")
        return
    sms = request["compute_capabilities"]
    yield from _too_old(dtypes, sms, "compute_capabilities")
    for dtype in NEEDS_NAMED_SMS if not sms else ():
        if dtype in dtypes:
            fitting = [sm for sm in target.known_sms() if sm >= FIRST_SM[dtype]]
            yield _refuse(
                f"the graph holds {dtype} values, and no compute capability is named",
                "compute_capabilities",
                "by default TensorRT-RTX also builds for GPUs without that type, and such an engine fails there only when it runs",
                f"--compute_capabilities {','.join(map(str, fitting))}",
            )


def _too_old(dtypes, sms, at):
    for dtype, first in FIRST_SM.items():
        old = [sm for sm in sms if sm < first]
        if dtype in dtypes and old:
            yield _refuse(
                f"SM {', '.join(map(str, old))} has no {dtype}, which the graph uses",
                at,
                f"GPUs compute in {dtype} from SM {first} on",
                "another precision" + (f", or compute capabilities of {first} and above" if at == "compute_capabilities" else ", or a newer GPU"),
            )

"""Finds the TensorRT bindings, the GPUs and what this library can and cannot build."""

import ctypes
import importlib
import os
import sys

from .events import Failure, problem

# The enterprise package first: who installed it has a GPU and wants engines for it.
MODULES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")

DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "UINT8": "uint8",
    "FP8": "float8_e4m3fn",
    "INT4": "int4",
    "FP4": "float4_e2m1fn",
    "E8M0": "float8_e8m0fnu",
}


class Target:
    """The library that builds: `trt` is its module, `rtx` tells TensorRT-RTX from enterprise TensorRT."""

    def __init__(self, trt, module):
        self.trt = trt
        self.module = module
        self.version = trt.__version__
        self.rtx = "rtx" in module
        self.gpus = cuda_devices()

    @property
    def name(self):
        return "TensorRT-RTX" if self.rtx else "TensorRT"

    def known_sms(self):
        """SM numbers that can be named as a target, from the library itself; enterprise TensorRT has no such list."""
        members = getattr(getattr(self.trt, "ComputeCapability", None), "__members__", {})
        return sorted(int(name[2:]) for name in members if name.startswith("SM"))

    def dtype(self, value):
        name = str(value).rsplit(".", maxsplit=1)[-1]
        return DTYPES.get(name, name.lower())


def find_target(wanted):
    """The first module that imports. `wanted` is a module's name, a backend (tensorrt, tensorrt_rtx) or "auto"."""
    names = {"auto": MODULES, "tensorrt_rtx": MODULES[1:]}.get(wanted, (wanted,))
    tried = []
    for name in names:
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            # A missing module is expected; one that is there and fails to load its library is worth showing.
            tried.append(f"{name}: {error}")
            continue
        if hasattr(module, "Builder"):
            return Target(module, name)
        tried.append(f"{name}: imports, but is not TensorRT ({getattr(module, '__file__', 'built in')})")
    rtx = wanted != "tensorrt"
    package = "tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings" if rtx else "tensorrt"
    raise Failure(
        "bindings",
        [
            problem(
                "ENV021",
                f"no TensorRT bindings for this Python: {'; '.join(tried)}",
                sys.executable,
                "engines are built by NVIDIA's library, which Python reaches through its bindings",
                f"{sys.executable} -m pip install {package}",
            )
        ],
        exit_code=3,
    )


def cuda_devices():
    """[{ name, sm, bytes }] of the CUDA devices the driver shows, [] without a driver. Asks libcuda, creates no context."""
    try:
        cuda = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return []
    count = ctypes.c_int()
    if cuda.cuInit(0) != 0 or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return []
    return [_device(cuda, index) for index in range(count.value)]


def _device(cuda, index):
    # CUdevice_attribute: 75 and 76 are the major and minor compute capability.
    value, handle, size = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    cuda.cuDeviceGet(ctypes.byref(handle), index)
    numbers = []
    for attribute in (75, 76):
        cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, handle)
        numbers.append(value.value)
    name = ctypes.create_string_buffer(256)
    cuda.cuDeviceGetName(name, 256, handle)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(size), handle)
    return {"name": name.value.decode(errors="replace"), "sm": numbers[0] * 10 + numbers[1], "bytes": size.value}


def rtx_library_without_link():
    """The loaded libtensorrt_rtx.so.1 when no libtensorrt_rtx.so stands beside it; None when plugins are safe to add."""
    try:
        with open("/proc/self/maps", encoding="utf-8") as maps:
            loaded = {line.split()[-1] for line in maps if "libtensorrt_rtx.so." in line}
    except OSError:
        return None
    for library in sorted(loaded):
        if not os.path.exists(os.path.join(os.path.dirname(library), "libtensorrt_rtx.so")):
            return library
    return None

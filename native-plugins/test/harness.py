"""Calls the kernels of a plugin library on torch tensors through its C interface (common/abi.h), with no TensorRT in between."""

import ctypes as c
import math
import os

import torch

MAX_RANK = 8
DTYPES = {
    torch.float32: 0,
    torch.float16: 1,
    torch.bfloat16: 2,
    torch.int8: 3,
    torch.int32: 5,
    torch.int64: 6,
    torch.float8_e4m3fn: 7,
}
INT4 = 4


class Tensor(c.Structure):
    _fields_ = [("data", c.c_void_p), ("dims", c.c_int64 * MAX_RANK), ("rank", c.c_int32), ("dtype", c.c_int32)]


class Call(c.Structure):
    _fields_ = [
        ("inputs", c.POINTER(Tensor)),
        ("outputs", c.POINTER(Tensor)),
        ("attributes", c.c_void_p),
        ("workspace", c.c_void_p),
        ("workspaceBytes", c.c_int64),
        ("state", c.c_void_p),
        ("stream", c.c_void_p),
        ("nbInputs", c.c_int32),
        ("nbOutputs", c.c_int32),
    ]


class Term(c.Structure):
    _fields_ = [("input", c.c_int32), ("value", c.c_int64)]


class Dim(c.Structure):
    _fields_ = [("op", c.c_char), ("a", Term), ("b", Term)]


class TensorFacts(c.Structure):
    _fields_ = [
        ("name", c.c_char_p),
        ("dtypes", c.c_uint32),
        ("group", c.c_int32),
        ("rank", c.c_int32),
        ("leading", c.c_int32),
        ("optional", c.c_int32),
        ("leadingOf", c.c_int32),
        ("dims", Dim * MAX_RANK),
        ("aliasOf", c.c_int32),
        ("aliasWhen", c.c_int32),
    ]


class AttributeFacts(c.Structure):
    _fields_ = [
        ("name", c.c_char_p),
        ("type", c.c_int32),
        ("offset", c.c_int32),
        ("initial", c.c_double),
        ("minimum", c.c_double),
        ("maximum", c.c_double),
        ("required", c.c_int32),
    ]


class PluginFacts(c.Structure):
    _fields_ = [
        ("name", c.c_char_p),
        ("version", c.c_char_p),
        ("inputs", c.POINTER(TensorFacts)),
        ("outputs", c.POINTER(TensorFacts)),
        ("attributes", c.POINTER(AttributeFacts)),
        ("run", c.CFUNCTYPE(c.c_int32, c.POINTER(Call))),
        ("workspace", c.CFUNCTYPE(c.c_int64, c.POINTER(Call))),
        ("stateBytes", c.c_int64),
        ("nbInputs", c.c_int32),
        ("nbOutputs", c.c_int32),
        ("nbAttributes", c.c_int32),
        ("attributesBytes", c.c_int32),
    ]


class Int4:
    """A weight of two values a byte: `packed` uint8 [K, N / 2], seen by the plugin as INT4 [K, N]."""

    def __init__(self, packed):
        self.packed = packed


class Refused(Exception):
    pass


def tensor_of(value):
    if value is None:
        return Tensor(None, (c.c_int64 * MAX_RANK)(), -1, 0)
    packed = isinstance(value, Int4)
    data = value.packed if packed else value
    assert data.is_contiguous(), "plugins take dense row-major tensors"
    shape = list(data.shape)
    if packed:
        shape[-1] *= 2
    dims = (c.c_int64 * MAX_RANK)(*shape)
    return Tensor(data.data_ptr(), dims, len(shape), INT4 if packed else DTYPES[data.dtype])


class Plugin:
    """One plugin of a library. `prepare` checks a call and gives a function that only launches it."""

    def __init__(self, library, facts):
        self.library = library
        self.facts = facts
        self.name = facts.name.decode()
        self.state = torch.zeros(max(int(facts.stateBytes), 1), dtype=torch.uint8, device="cuda")

    def prepare(self, inputs, outputs, **attributes):
        call = Call()
        ins = (Tensor * len(inputs))(*map(tensor_of, inputs))
        outs = (Tensor * len(outputs))(*map(tensor_of, outputs))
        packed = c.create_string_buffer(max(int(self.facts.attributesBytes), 4))
        self._pack(packed, attributes)
        call.inputs, call.outputs = ins, outs
        call.nbInputs, call.nbOutputs = len(inputs), len(outputs)
        call.attributes = c.cast(packed, c.c_void_p)
        call.state = self.state.data_ptr()
        size = self.facts.workspace(call)
        if size < 0:
            raise Refused(self.library.error())
        # Poisoned: a kernel that reads what it did not write shows NaN.
        workspace = torch.full((max(size, 16),), 255, dtype=torch.uint8, device="cuda")
        call.workspace, call.workspaceBytes = workspace.data_ptr(), size
        keep = (ins, outs, packed, workspace, inputs, outputs)

        def launch():
            call.stream = torch.cuda.current_stream().cuda_stream
            if self.facts.run(call) != 0:
                raise Refused(self.library.error())
            return keep

        return launch

    def __call__(self, inputs, outputs, **attributes):
        self.prepare(inputs, outputs, **attributes)()
        torch.cuda.synchronize()
        assert int(self.state.sum()) == 0, f"{self.name} left its state other than zero"

    def _pack(self, buffer, attributes):
        known = {self.facts.attributes[i].name.decode(): self.facts.attributes[i] for i in range(self.facts.nbAttributes)}
        assert set(attributes) <= set(known), set(attributes) - set(known)
        for name, facts in known.items():
            value = attributes.get(name, facts.initial)
            kind = c.c_int32 if facts.type == 0 else c.c_float
            kind.from_buffer(buffer, facts.offset).value = int(value) if facts.type == 0 else value


class TensorrtPlugin(Plugin):
    """The same plugin through TensorRT's interface: made by its creator, asked about formats, attached, enqueued."""

    def prepare(self, inputs, outputs, **attributes):
        shim = self.library.shim
        known = {self.facts.attributes[i].name.decode(): self.facts.attributes[i].type for i in range(self.facts.nbAttributes)}
        values = [c.c_int32(int(v)) if known[k] == 0 else c.c_float(v) for k, v in attributes.items()]
        names = (c.c_char_p * len(values))(*(name.encode() for name in attributes))
        types = (c.c_int32 * len(values))(*(known[name] for name in attributes))
        pointers = (c.c_void_p * len(values))(*(c.addressof(value) for value in values))
        ins = (Tensor * len(inputs))(*map(tensor_of, inputs))
        outs = (Tensor * len(outputs))(*map(tensor_of, outputs))
        session = shim.shim_open(
            self.library.file.encode(), self.name.encode(), len(values), names, types, pointers, ins, len(inputs), outs, len(outputs)
        )
        if not session:
            raise Refused(shim.shim_error().decode())
        keep = (values, ins, outs, inputs, outputs)

        def launch():
            if shim.shim_enqueue(c.c_void_p(session), c.c_void_p(torch.cuda.current_stream().cuda_stream)) != 0:
                raise Refused(shim.shim_error().decode())
            return keep

        launch.close = lambda: shim.shim_close(c.c_void_p(session))
        return launch

    def __call__(self, inputs, outputs, **attributes):
        launch = self.prepare(inputs, outputs, **attributes)
        launch()
        torch.cuda.synchronize()
        launch.close()


def caller():
    """MMTRT_TEST_CALLER=onnxruntime: the same tests through one-node graphs."""
    if os.environ.get("MMTRT_TEST_CALLER") != "onnxruntime":
        return Plugin
    from ort_harness import OnnxruntimePlugin

    return OnnxruntimePlugin


class Library:
    """`shim`, a library made of tensorrt_shim.cpp, makes every call go through TensorRT's plugin interface."""

    def __init__(self, file, shim=None):
        self.file = file
        self.shim = None if shim is None else c.CDLL(shim, mode=c.RTLD_GLOBAL)
        if self.shim is not None:
            self.shim.shim_open.restype = c.c_void_p
            self.shim.shim_error.restype = c.c_char_p
        self.c = c.CDLL(file)
        self.c.mmtrt_plugins.restype = c.POINTER(PluginFacts)
        self.c.mmtrt_last_error.restype = c.c_char_p
        self.c.mmtrt_plugin_abi.restype = c.c_char_p
        count = c.c_int32()
        table = self.c.mmtrt_plugins(c.byref(count))
        kind = caller() if shim is None else TensorrtPlugin
        self.plugins = {table[i].name.decode(): kind(self, table[i]) for i in range(count.value)}

    def __getitem__(self, name):
        return self.plugins[name]

    def error(self):
        return self.c.mmtrt_last_error().decode()


def poisoned(*shape, dtype):
    return torch.full(shape, math.nan, dtype=dtype, device="cuda")


def expect_close(got, want, cosine, ulp):
    """`want` is float64. The element bound is `ulp` steps of the output's dtype at the row's largest element."""
    assert torch.isfinite(got).all(), "an element was not written, or is not finite"
    g, w = got.double().reshape(-1, got.shape[-1]), want.reshape(-1, got.shape[-1])
    norm = g.norm() * w.norm()
    seen = 1.0 if norm == 0 and g.norm() == w.norm() else float((g * w).sum() / norm)
    bound = ulp * torch.finfo(got.dtype).eps * w.abs().amax(dim=-1, keepdim=True)
    over = (g - w).abs() - bound
    worst = int(over.argmax())
    assert seen >= cosine, f"cosine {seen:.7f}, needed {cosine}"
    assert float(over.max()) <= 0, f"element {worst}: {float(g.flatten()[worst])}, expected {float(w.flatten()[worst])}"


def pack_int4(q):
    """int8 values −8…7 [K, N] → two a byte along N, the even column low, as ONNX and safetensors store INT4."""
    return (q[:, 0::2] & 15 | (q[:, 1::2] & 15) << 4).to(torch.uint8).contiguous()

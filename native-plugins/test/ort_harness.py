"""The same plugins as ONNX Runtime's CUDA provider calls them: one-node graphs, with every tensor bound where it lies on the GPU.

Needs onnxruntime-gpu, onnx, torch. Each file also holds a model-local function of the node's name whose body gives scalars, so a
session that ran the function in place of the library's kernel could not fill the bound outputs.
"""

import hashlib

import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper

from harness import Int4, Plugin, Refused

ONNX_TYPES = {
    torch.float32: TensorProto.FLOAT,
    torch.float16: TensorProto.FLOAT16,
    torch.bfloat16: TensorProto.BFLOAT16,
    torch.int8: TensorProto.INT8,
    torch.int32: TensorProto.INT32,
    torch.int64: TensorProto.INT64,
    torch.float8_e4m3fn: TensorProto.FLOAT8E4M3FN,
}
# By MMTRT_… (common/abi.h).
ABI_TYPES = [
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.BFLOAT16,
    TensorProto.INT8,
    TensorProto.INT4,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.FLOAT8E4M3FN,
]
DOMAIN = "mmtrt"
onnxruntime.set_default_logger_severity(3)
CUDA_OPTIONS = {"device_id": "0"}


def session_options(library=None):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if library is not None:
        options.register_custom_ops_library(library)
    return options


def cuda_session(model, library=None, options=None, **provider):
    """`model`: a path or serialized bytes. Nodes that CUDA lacks go to the CPU provider, which sessions always have."""
    options = options or session_options(library)
    return onnxruntime.InferenceSession(model, options, providers=[("CUDAExecutionProvider", {**CUDA_OPTIONS, **provider})])


def bind(binding, way, name, tensor, device="cuda"):
    call = binding.bind_input if way == "input" else binding.bind_output
    call(name, device, 0, ONNX_TYPES[tensor.dtype], list(tensor.shape), tensor.data_ptr())


def type_of(value):
    return TensorProto.INT4 if isinstance(value, Int4) else ONNX_TYPES[value.dtype]


def left_out_type(facts, peers):
    """The type of a scalar that stands for an absent input: that of another tensor of its group, or the first allowed one."""
    for other, value in peers:
        if value is not None and facts.group >= 0 and other.group == facts.group:
            return type_of(value)
    return next(onnx_type for bit, onnx_type in enumerate(ABI_TYPES) if facts.dtypes >> bit & 1)


def scalar(name, onnx_type):
    size = 2 if onnx_type in (TensorProto.FLOAT16, TensorProto.BFLOAT16) else 1 if onnx_type in (TensorProto.INT8, TensorProto.FLOAT8E4M3FN) else 4
    return helper.make_tensor(name, onnx_type, [], bytes(8 if onnx_type == TensorProto.INT64 else size), raw=True)


def decoy(name, inputs, outputs, output_types, attributes):
    """A function of the plugin's name that gives a scalar for each output."""
    nodes = [helper.make_node("Constant", [], [out], value=scalar(out, kind)) for out, kind in zip(outputs, output_types)]
    made = helper.make_function(DOMAIN, name, inputs, outputs, nodes, [helper.make_opsetid("", 21)])
    made.attribute.extend(attributes)
    return made


def one_node(name, facts, inputs, outputs, attributes):
    """(bytes of the model, names of graph inputs by position; None for those that lie in the file)."""
    ins, outs = ([facts_of[i].name.decode() for i in range(n)] for facts_of, n in ((facts.inputs, facts.nbInputs), (facts.outputs, facts.nbOutputs)))
    peers = [(facts.inputs[i], value) for i, value in enumerate(inputs)] + [(facts.outputs[i], value) for i, value in enumerate(outputs)]
    initializers, graph_inputs, fed = [], [], []
    for i, value in enumerate(inputs):
        fed.append(None)
        if value is None:
            initializers.append(scalar(ins[i], left_out_type(facts.inputs[i], peers)))
        elif isinstance(value, Int4):
            shape = [*value.packed.shape[:-1], value.packed.shape[-1] * 2]
            initializers.append(helper.make_tensor(ins[i], TensorProto.INT4, shape, value.packed.cpu().numpy().tobytes(), raw=True))
        else:
            fed[-1] = ins[i]
            graph_inputs.append(helper.make_tensor_value_info(ins[i], type_of(value), list(value.shape)))
    graph_outputs = [helper.make_tensor_value_info(n, type_of(v), list(v.shape)) for n, v in zip(outs, outputs)]
    given = ins[: len(inputs)]
    node = helper.make_node(name, given, outs, domain=DOMAIN, plugin_namespace=DOMAIN, plugin_version=facts.version.decode(), **attributes)
    function = decoy(name, given, outs, [type_of(v) for v in outputs], [a.name for a in node.attribute])
    graph = helper.make_graph([node], name, graph_inputs, graph_outputs, initializers)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=10).SerializeToString(), fed


class OnnxruntimePlugin(Plugin):
    """`prepare` gives a function that runs the session once on the tensors as bound."""

    sessions: dict = {}

    def prepare(self, inputs, outputs, **attributes):
        known = {self.facts.attributes[i].name.decode(): self.facts.attributes[i].type for i in range(self.facts.nbAttributes)}
        typed = {key: int(value) if known[key] == 0 else float(value) for key, value in attributes.items()}
        model, fed = one_node(self.name, self.facts, inputs, outputs, typed)
        try:
            session = self._session(model)
        except Exception as error:  # the runtime's own exception types are not public
            raise Refused(self._said(str(error), len(inputs))) from error
        binding = session.io_binding()
        for name, value in zip(fed, inputs):
            if name is not None:
                bind(binding, "input", name, value)
        for i, value in enumerate(outputs):
            bind(binding, "output", self.facts.outputs[i].name.decode(), value)

        def launch():
            torch.cuda.synchronize()
            try:
                session.run_with_iobinding(binding)
            except Exception as error:
                raise Refused(str(error)) from error
            return inputs, outputs

        return launch

    def __call__(self, inputs, outputs, **attributes):
        self.prepare(inputs, outputs, **attributes)()
        torch.cuda.synchronize()

    def _said(self, error, given):
        """The runtime counts inputs and looks for a kernel of these types before the library is asked: its words, and the library's."""
        missing = [self.facts.inputs[i].name.decode() for i in range(given, self.facts.nbInputs) if not self.facts.inputs[i].optional]
        if missing:
            return f"the input {missing[0]} is missing: {error}"
        return f"dtype: {error}" if "type inferenc" in error else error

    def _session(self, model):
        key = hashlib.sha256(model).digest()
        if key not in self.sessions:
            if len(self.sessions) >= 8:
                self.sessions.clear()
            self.sessions[key] = cuda_session(model, self.library.file)
        return self.sessions[key]

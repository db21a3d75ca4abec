"""Random weights for a graph whose external data is not there: speed does not depend on training.

All weights of one type and shape share one place in the file, so that 13 GB of a model are some 600 MB on disk; on the GPU each has
memory of its own, as ONNX Runtime copies every initializer.
"""

import math
import os

import onnx
import torch
from onnx import TensorProto

ALIGNMENT = 4096
FLOATS = {TensorProto.FLOAT: torch.float32, TensorProto.FLOAT16: torch.float16, TensorProto.BFLOAT16: torch.bfloat16}
# Root mean square of random codes; bytes of MatMulNBits hold two of 4 bits.
CODE_SIZE = {TensorProto.INT4: 4.6, TensorProto.UINT8: 4.6, TensorProto.INT8: 74.0}


def is_scale(name):
    return "scal" in name.rsplit(".", 1)[-1]


def values(name, kind, dims, code_size):
    """Such that a product of unit inputs has unit outputs."""
    if kind not in FLOATS:
        count = math.prod(dims) // (2 if kind == TensorProto.INT4 else 1)
        return torch.randint(0, 256, (count,), dtype=torch.uint8, device="cuda")
    if len(dims) == 1:
        return torch.ones(dims, dtype=FLOATS[kind], device="cuda")
    if is_scale(name):
        return (torch.rand(dims, device="cuda") + 0.5).mul_(1 / (code_size * 64)).to(FLOATS[kind])
    return (torch.randn(dims, device="cuda") / math.sqrt(min(dims))).to(FLOATS[kind])


def fill(model, folder):
    """Writes the weights of `model` (loaded without external data) into `folder`; gives the path of the model beside them and bytes."""
    places, end, total = {}, 0, 0
    code_size = next((CODE_SIZE[t.data_type] for t in model.graph.initializer if t.data_type in CODE_SIZE), 1.0)
    with open(os.path.join(folder, "weights.bin"), "wb") as file:
        for tensor in model.graph.initializer:
            if tensor.data_location != TensorProto.EXTERNAL:
                continue
            dims, kind = tuple(tensor.dims), tensor.data_type
            key = (kind, dims, is_scale(tensor.name))
            if key not in places:
                data = values(tensor.name, kind, dims, code_size).cpu().contiguous().view(torch.uint8).numpy()
                file.seek(end)
                file.write(data.data)
                places[key] = (end, data.nbytes)
                end += math.ceil(data.nbytes / ALIGNMENT) * ALIGNMENT
            offset, length = places[key]
            total += length
            del tensor.external_data[:]
            for k, v in (("location", "weights.bin"), ("offset", offset), ("length", length)):
                tensor.external_data.add(key=k, value=str(v))
    path = os.path.join(folder, "model.onnx")
    onnx.save(model, path)
    return path, total

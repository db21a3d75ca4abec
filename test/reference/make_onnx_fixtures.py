"""Small ONNX graphs for test/engines, which builds them with TensorRT-RTX: python test/reference/make_onnx_fixtures.py

Each shows one thing: two profiles over a sum of sizes, external data, a cache written in place, an operator nobody has …
"""

import os

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OUT = os.path.join(os.path.dirname(__file__), "..", "fixtures", "onnx")
F16, F32, BF16, INT64, BOOL = (getattr(TensorProto, t) for t in ("FLOAT16", "FLOAT", "BFLOAT16", "INT64", "BOOL"))
node, value = helper.make_node, helper.make_tensor_value_info


def save(name, nodes, inputs, outputs, weights=(), opset=23):
    graph = helper.make_graph(nodes, name, inputs, outputs, list(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    with open(os.path.join(OUT, f"{name}.onnx"), "wb") as file:
        file.write(model.SerializeToString())


def weight(name, shape, dtype=np.float16):
    return numpy_helper.from_array(np.random.RandomState(0).randn(*shape).astype(dtype), name)


def external(name, location, shape, length):
    tensor = TensorProto(name=name, data_type=F16, dims=shape, data_location=TensorProto.EXTERNAL)
    for key, text in (("location", location), ("offset", "3"), ("length", str(length))):
        tensor.external_data.add(key=key, value=text)
    return tensor


def main():
    os.makedirs(OUT, exist_ok=True)
    x = value("x", F16, ["batch", "seq", 19])
    past = value("past", F16, ["batch", "past", 7])
    # y = concat(past, x W) masked by an input as long as both.
    save(
        "cache",
        [
            node("MatMul", ["x", "w"], ["new"], name="layers.0/mm"),
            node("Concat", ["past", "new"], ["present"], name="layers.0/cache", axis=1),
            node("Mul", ["present", "mask"], ["y"], name="layers.0/mask"),
        ],
        [x, past, value("mask", F16, ["batch", "past + seq", 1])],
        [value("y", F16, ["batch", "past + seq", 7]), value("present", F16, ["batch", "past + seq", 7])],
        [weight("w", (19, 7))],
    )
    # Two operands that must be equally long, which the names of their sizes do not say.
    save(
        "hidden_sum",
        [node("Add", ["x", "z"], ["y"], name="add")],
        [value("x", F16, ["batch", "seq"]), value("z", F16, ["batch", "other"])],
        [value("y", F16, ["batch", None])],
    )
    for name, location in (("external", "weights.bin"), ("external_gone", "gone.safetensors"), ("external_up", "../weights.bin")):
        save(
            name,
            [node("MatMul", ["x", "w"], ["y"], name="mm")],
            [value("x", F16, ["batch", 19])],
            [value("y", F16, ["batch", 7])],
            [external("w", location, [19, 7], 266)],
        )
    # 3 bytes of something else first: weights need no alignment.
    with open(os.path.join(OUT, "weights.bin"), "wb") as file:
        file.write(b"abc" + np.random.RandomState(1).randn(19, 7).astype(np.float16).tobytes())
    save("unknown_op", [node("FooBar", ["x"], ["y"], name="foo", domain="x")], [value("x", F16, ["batch", 19])], [value("y", F16, ["batch", 19])])
    save("attention_fp32", [node("Attention", ["q", "k", "v"], ["y"], name="att")], [value(n, F32, ["batch", 3, "seq", 40]) for n in "qkv"], [value("y", F32, ["batch", 3, "seq", 40])])
    save("bf16", [node("MatMul", ["x", "w"], ["y"], name="mm")], [value("x", BF16, ["batch", 19])], [value("y", BF16, ["batch", 7])], [helper.make_tensor("w", BF16, [19, 7], np.ones(133).tolist())])
    save(
        "fp8",
        [node("DequantizeLinear", ["q", "scale"], ["w"], name="dq"), node("MatMul", ["x", "w"], ["y"], name="mm")],
        [value("x", F16, ["batch", 32])],
        [value("y", F16, ["batch", 16])],
        [helper.make_tensor("q", TensorProto.FLOAT8E4M3FN, [32, 16], np.ones(512).tolist()), numpy_helper.from_array(np.float16(1), "scale")],
    )
    # Four heads: with three, TensorRT-RTX has no fused kernel for a single query and Attention must be decomposable.
    cache = [value(n, F16, ["batch", 4, 128, 40]) for n in ("cache_key_0", "cache_value_0")]
    save(
        "static_cache",
        [
            node("TensorScatter", ["cache_key_0", "k", "at"], ["cache_key_0_out"], name="layers.0/key", axis=-2),
            node("TensorScatter", ["cache_value_0", "v", "at"], ["cache_value_0_out"], name="layers.0/value", axis=-2),
            node("Attention", ["q", "cache_key_0_out", "cache_value_0_out", "mask"], ["y"], name="layers.0/attention"),
        ],
        [value(n, F16, ["batch", 4, "seq", 40]) for n in "qkv"] + cache + [value("at", INT64, ["batch"]), value("mask", BOOL, ["batch", 1, "seq", 128])],
        [value("y", F16, ["batch", 4, "seq", 40])] + [value(f"{t.name}_out", F16, ["batch", 4, 128, 40]) for t in cache],
        opset=24,
    )
    save("fixed", [node("Relu", ["x"], ["y"], name="relu")], [value("x", F16, [3, 19])], [value("y", F16, [3, 19])])


if __name__ == "__main__":
    main()

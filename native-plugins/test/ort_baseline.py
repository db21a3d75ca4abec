"""A LLaMA decoder as ONNX Runtime's own builder writes it for CUDA: GroupQueryAttention over a shared cache with packed q, k, v and
rotation inside, SkipSimplifiedLayerNormalization, and MatMulNBits for INT4. The logits are of the last token alone, as ours."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

FP16, I32 = TensorProto.FLOAT16, TensorProto.INT32
MS = "com.microsoft"
GROUP = 128


class Llama:
    def __init__(self, hidden=4096, heads=32, layers=32, intermediate=11008, vocab=32000, theta=10000.0, eps=1e-5):
        self.hidden, self.heads, self.layers, self.intermediate = hidden, heads, layers, intermediate
        self.vocab, self.theta, self.eps = vocab, theta, eps
        self.dim = hidden // heads


class Graph:
    def __init__(self):
        self.nodes, self.weights, self.count = [], [], 0

    def node(self, op, inputs, outputs=1, domain="", **attributes):
        self.count += 1
        names = outputs if isinstance(outputs, list) else [f"v{self.count}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, domain=domain, name=f"n{self.count}", **attributes))
        return names if len(names) > 1 else names[0]

    def weight(self, name, kind, dims):
        tensor = TensorProto(name=name, data_type=kind, dims=dims, data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value="weights.bin")
        self.weights.append(tensor)
        return name

    def constant(self, name, array):
        self.weights.append(numpy_helper.from_array(array, name))
        return name


def product(g, x, name, k, n, int4):
    if not int4:
        return g.node("MatMul", [x, g.weight(name, FP16, [k, n])])
    codes = g.weight(name, TensorProto.UINT8, [n, k // GROUP, GROUP // 2])
    scales = g.weight(f"{name}.scales", FP16, [n, k // GROUP])
    return g.node("MatMulNBits", [x, codes, scales], domain=MS, K=k, N=n, bits=4, block_size=GROUP)


def layer(g, m, i, normed, skip, int4):
    """(product of the MLP, sum before it): what the next norm takes."""
    h = m.hidden
    qkv = product(g, normed, f"l{i}.qkv", h, 3 * h, int4)
    outs = [f"attention_{i}", f"present_key_{i}", f"present_value_{i}"]
    state = [f"past_key_{i}", f"past_value_{i}", "seqlens_k", "total_length", "cos", "sin"]
    g.node("GroupQueryAttention", [qkv, "", "", *state], outs, domain=MS, num_heads=m.heads, kv_num_heads=m.heads, do_rotary=1)
    dense = product(g, outs[0], f"l{i}.dense", h, h, int4)
    normed, total = skip_norm(g, m, dense, skip, f"l{i}.post")
    gate = product(g, normed, f"l{i}.gate", h, m.intermediate, int4)
    up = product(g, normed, f"l{i}.up", h, m.intermediate, int4)
    act = g.node("Mul", [g.node("Mul", [gate, g.node("Sigmoid", [gate])]), up])
    return product(g, act, f"l{i}.down", m.intermediate, h, int4), total


def skip_norm(g, m, x, skip, name):
    outs = [f"{name}.y", "", "", f"{name}.sum"]
    g.node("SkipSimplifiedLayerNormalization", [x, skip, g.weight(name, FP16, [m.hidden])], outs, domain=MS, epsilon=m.eps)
    return outs[0], outs[3]


def llama(m, capacity, int4, batch=1):
    g = Graph()
    angles = np.arange(capacity)[:, None] * m.theta ** (-np.arange(0, m.dim, 2) / m.dim)[None, :]
    g.constant("cos", np.cos(angles).astype(np.float16))
    g.constant("sin", np.sin(angles).astype(np.float16))
    x = g.node("Gather", [g.weight("embedding", FP16, [m.vocab, m.hidden]), "input_ids"])
    normed = g.node("SimplifiedLayerNormalization", [x, g.weight("first", FP16, [m.hidden])], axis=-1, epsilon=m.eps, stash_type=1)
    total = x
    for i in range(m.layers):
        out, total = layer(g, m, i, normed, total, int4)
        normed, total = skip_norm(g, m, out, total, f"l{i}.next")
    last = g.node("Gather", [normed, g.constant("minus_one", np.array(-1, np.int64))], axis=1)
    g.nodes.append(helper.make_node("Identity", [product(g, last, "head", m.hidden, m.vocab, int4)], ["logits"]))
    cache = [batch, m.heads, capacity, m.dim]
    info = helper.make_tensor_value_info
    inputs = [info("input_ids", I32, [batch, "seq"]), info("seqlens_k", I32, [batch]), info("total_length", I32, [])]
    outputs = [info("logits", FP16, [batch, m.vocab])]
    for i in range(m.layers):
        inputs += [info(f"past_{part}_{i}", FP16, cache) for part in ("key", "value")]
        outputs += [info(f"present_{part}_{i}", FP16, cache) for part in ("key", "value")]
    graph = helper.make_graph(g.nodes, "baseline", inputs, outputs, g.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid(MS, 1)], ir_version=10)

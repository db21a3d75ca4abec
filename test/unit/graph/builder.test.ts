import { describe, expect, it } from "vitest";
import { attentionFunction, fullAttentionFunction } from "../../../src/graph/functions.ts";
import { GraphBuilder } from "../../../src/graph/ops.ts";
import { verifyGraph } from "../../../src/graph/verify.ts";
import { printGraph } from "../../support/print-graph.ts";

describe("the graph builder", () => {
  it("infers shapes through broadcast, product, reshape, split and concat", () => {
    const g = new GraphBuilder("shapes");
    const x = g.input("x", "float32", ["batch", "seq", 19]);
    const w = g.weight("w", "float32", [19, 8]);
    const y = g.matmul(x, w);
    expect(y.shape).toEqual(["batch", "seq", 8]);
    expect(g.add(y, g.weight("b", "float32", [8])).shape).toEqual(["batch", "seq", 8]);
    expect(g.reshape(y, ["batch", "seq", 2, 4]).shape).toEqual(["batch", "seq", 2, 4]);
    const [a, b] = g.split(y, [3, 5], 2);
    expect([a!.shape, b!.shape]).toEqual([
      ["batch", "seq", 3],
      ["batch", "seq", 5],
    ]);
    const past = g.input("past", "float32", ["batch", "past", 8]);
    expect(g.concat([past, y], 1).shape).toEqual(["batch", "past + seq", 8]);
  });

  it("fails at the line that builds something wrong", () => {
    const g = new GraphBuilder("wrong");
    const x = g.input("x", "float32", ["batch", 19]);
    expect(() => g.matmul(x, g.weight("w", "float32", [18, 4]))).toThrow(
      /MatMul does not fit \[batch, 19\] and \[18, 4\]/,
    );
    expect(() => g.add(x, g.weight("h", "float16", [19]))).toThrow(/dtypes differ/);
    expect(() => g.reshape(x, ["batch", 4, 5])).toThrow(/Reshape does not fit/);
    expect(() => g.split(x, [9, 9], 1)).toThrow(/Split does not fit/);
    expect(() => g.input("x", "float32", [1])).toThrow(/two values are called x/);
    expect(() => g.concat([x, g.input("z", "float32", ["rows", 19])], 1)).toThrow(/Concat does not fit/);
  });

  it("gives nodes their scope path and keeps names unique", () => {
    const g = new GraphBuilder("names");
    const x = g.input("x", "float32", [1]);
    const [a, b] = g.scope("layers.0", () => g.scope("mlp", () => [g.relu(x), g.relu(x)] as const));
    expect([a.name, b.name]).toEqual(["layers.0/mlp/Relu", "layers.0/mlp/Relu_1"]);
  });

  it("stores equal constants once", () => {
    const g = new GraphBuilder("constants");
    expect(g.int64s([1, 2])).toBe(g.int64s([1, 2]));
    expect(g.int64s([1, 2])).not.toBe(g.int64s([1, 3]));
    expect(g.scalar(0.5, "float16").dtype).toBe("float16");
  });

  it("refuses attributes a function does not declare and two bodies under one name", () => {
    const g = new GraphBuilder("functions");
    const x = g.input("x", "float32", ["batch", 2, "seq", 8]);
    expect(() => g.call(fullAttentionFunction, [x, x, x], x, { softcap: { float: 1 } })).toThrow(
      /does not declare attribute softcap/,
    );
    g.call(fullAttentionFunction, [x, x, x], x);
    expect(() => g.call(attentionFunction, [x, x, x, x], x)).toThrow(/two functions called mmtrt::Attention/);
  });
});

describe("verifyGraph", () => {
  it("finds unused weights and dead nodes", () => {
    const g = new GraphBuilder("dead");
    const x = g.input("x", "float32", [3]);
    g.weight("forgotten", "float32", [3]);
    g.relu(x);
    g.output(g.sigmoid(x), "y");
    expect(verifyGraph(g.finish())).toEqual(["initializer forgotten is used by no node", "nobody uses Relu"]);
  });

  it("finds a node that takes a value of another graph", () => {
    const g = new GraphBuilder("one");
    const stranger = new GraphBuilder("two").input("x", "float32", [3]);
    g.output(g.relu(stranger), "y");
    expect(verifyGraph(g.finish())[0]).toContain("uses x before it exists");
  });
});

describe("printGraph", () => {
  it("shows a value, node and attribute a line", () => {
    const g = new GraphBuilder("tiny");
    const x = g.input("x", "float16", ["batch", 4]);
    g.output(g.gelu(g.matmul(x, g.weight("w", "float16", [4, 2])), "tanh"), "y");
    expect(printGraph(g.finish())).toBe(
      [
        "graph tiny (opset 23)",
        "  in     x: float16[batch, 4]",
        "  weight w: float16[4, 2]",
        "  MatMul: float16[batch, 2] = MatMul(x, w)",
        '  y: float16[batch, 2] = Gelu(MatMul) approximate="tanh"',
        "  out    y: float16[batch, 2]",
      ].join("\n"),
    );
  });
});

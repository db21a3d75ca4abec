import { describe, expect, it } from "vitest";
import type { OnnxAttribute, OnnxModel, OnnxNode } from "../../../../src/formats/onnx/schema.ts";
import { cutAtCollectives } from "../../../../src/runtime/ranks/cut.ts";
import { layersIn, outerName } from "../../../../src/runtime/ranks/names.ts";

const node = (opType: string, input: string[], output: string[], attribute: OnnxAttribute[] = []): OnnxNode => ({
  opType,
  input,
  output,
  attribute,
  name: output[0] as string,
});
const collective = (kind: string, input: string, output: string): OnnxNode =>
  node(
    "DistCollective",
    [input],
    [output],
    [
      { name: "collective_operation", type: 3, s: new TextEncoder().encode(kind) },
      { name: "nb_rank", type: 2, i: 2 },
    ],
  );

function model(nodes: OnnxNode[], outputs: string[]): OnnxModel {
  const info = (name: string) => ({ name, type: { tensorType: { elemType: 1, shape: { dim: [] } } } });
  const graph = {
    name: "g",
    node: nodes,
    initializer: [{ dims: [1], dataType: 1, name: "w" }],
    input: [info("x")],
    output: outputs.map(info),
  };
  return {
    irVersion: 10,
    producerName: "",
    producerVersion: "",
    opsetImport: [],
    functions: [],
    metadataProps: [],
    graph,
  };
}

describe("a graph cut at its collectives", () => {
  const cut = cutAtCollectives(
    model(
      [
        node("Mul", ["x", "w"], ["a"]),
        node("Neg", ["x"], ["early"]),
        collective("all_reduce", "a", "b"),
        collective("all_gather", "b", "c"),
        node("Add", ["c", "x"], ["d"]),
        node("Add", ["d", "w"], ["y"]),
      ],
      ["y", "early"],
    ),
    new Set(["d"]),
  );

  it("gives each piece what it takes and makes, and its weights", () => {
    expect(cut.map(({ nodes, inputs, outputs, initializers }) => [nodes, inputs, outputs, [...initializers]])).toEqual([
      [{ start: 0, end: 2 }, ["x"], ["a", "early"], ["w"]],
      [{ start: 3, end: 3 }, [], [], []],
      [{ start: 4, end: 6 }, ["c", "x"], ["d", "y"], ["w"]],
    ]);
    expect(cut.map(({ ends }) => ends && [ends.kind, ends.input, ends.output, ends.ranks])).toEqual([
      ["all_reduce", "a", "b", 2],
      ["all_gather", "b", "c", 2],
      undefined,
    ]);
  });

  it("lets go of a value after the last piece that asks for it, and of no result", () => {
    expect(cut.map(({ done }) => done)).toEqual([["a"], ["b"], ["c", "x"]]);
  });

  it("refuses a collective it does not know", () => {
    const odd = model([collective("broadcast", "x", "y")], ["y"]);
    expect(() => cutAtCollectives(odd, new Set())).toThrow(/y asks for a collective broadcast/);
  });
});

describe("names of keys and values", () => {
  it("number layers one rank after the other, in every spelling", () => {
    expect(
      ["past_key_0", "present_value_3", "cache_key_1_out", "cross_value_2"].map(name => outerName(name, 4)),
    ).toEqual(["past_key_4", "present_value_7", "cache_key_5_out", "cross_value_6"]);
    expect(outerName("input_ids", 4)).toBe("input_ids");
    expect([layersIn(["past_key_0", "present_key_1", "logits"]), layersIn(["logits"])]).toEqual([2, 0]);
  });
});

import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { encodeOnnx, writeOnnx } from "../../../src/emit/onnx.ts";
import { decodeModel, tensorTypeOf } from "../../../src/formats/onnx/schema.ts";
import { dataOffsetOf, writeSafetensors } from "../../../src/formats/safetensors.ts";
import type { Graph } from "../../../src/graph/graph.ts";
import { GraphBuilder } from "../../../src/graph/ops.ts";
import { floats } from "../../support/tensors.ts";

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "mmtrt-onnx-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

/** relu(x·w + 1) with w from the weights file, and the product as a tap. */
function tinyGraph(): Graph {
  const g = new GraphBuilder("tiny");
  const x = g.input("x", "float32", ["batch", 3]);
  const product = g.tap("product", g.matmul(x, g.weight("w", "float32", [3, 2])));
  g.output(g.relu(g.add(product, g.scalar(1, "float32"))), "y");
  return g.finish();
}

/** `w` lies behind another tensor, 4 bytes off any 8-byte boundary: external data takes every alignment. */
async function weightsFile(): Promise<string> {
  const file = join(dir, "rank0.safetensors");
  await writeSafetensors(file, [
    floats("before", [7], [9, 9, 9, 9, 9, 9, 9]),
    floats("w", [3, 2], [1, -2, 3, -4, 5, -6]),
  ]);
  return file;
}

describe("writeOnnx", () => {
  it("points into the safetensors file and runs in ONNX Runtime", async () => {
    const tensors = await dataOffsetOf(await weightsFile());
    const bytes = await writeOnnx(tinyGraph(), join(dir, "m.onnx"), {
      location: "rank0.safetensors",
      tensors,
      producerVersion: "0.0.0",
    });
    expect(bytes).toBe((await stat(join(dir, "m.onnx"))).size);
    expect(bytes).toBeLessThan(600);
    const session = await InferenceSession.create(join(dir, "m.onnx"));
    const { y } = await session.run({ x: new Tensor("float32", [1, 2, 3, 0, 0, 0], [2, 3]) });
    expect([...(y!.data as Float32Array)]).toEqual([1 + 6 + 15 + 1, 0, 1, 1]);
  });

  it("makes taps into outputs when asked", async () => {
    const tensors = await dataOffsetOf(await weightsFile());
    const options = { location: "rank0.safetensors", tensors, producerVersion: "0.0.0", extraOutputs: ["product"] };
    await writeOnnx(tinyGraph(), join(dir, "m.onnx"), options);
    const session = await InferenceSession.create(join(dir, "m.onnx"));
    const out = await session.run({ x: new Tensor("float32", [1, 2, 3], [1, 3]) });
    expect([...(out["tap/product"]!.data as Float32Array)]).toEqual([22, -28]);
    expect(() => encodeOnnx(tinyGraph(), { ...options, extraOutputs: ["nothing"] })).toThrow(
      /no tap nothing; it has product/,
    );
  });

  it("names every weight that is missing or has another shape, and leaves no file", async () => {
    const tensors = new Map([["w", { dtype: "float32" as const, shape: [2, 3], offset: 0 }]]);
    const g = new GraphBuilder("two");
    const x = g.input("x", "float32", ["batch", 3]);
    g.output(g.add(g.matmul(x, g.weight("w", "float32", [3, 2])), g.weight("b", "float32", [2])), "y");
    const written = writeOnnx(g.finish(), join(dir, "m.onnx"), {
      location: "rank0.safetensors",
      tensors,
      producerVersion: "0.0.0",
    });
    await expect(written).rejects.toThrow(
      /GRF001.*w is float32 \[2, 3\]; the graph needs float32 \[3, 2\].*\n.*no tensor b; the graph needs it as float32 \[2\]/,
    );
    expect(await readdir(dir)).toEqual([]);
  });

  it("decodes to what was encoded", async () => {
    const tensors = await dataOffsetOf(await weightsFile());
    const model = decodeModel(
      encodeOnnx(tinyGraph(), { location: "rank0.safetensors", tensors, producerVersion: "1.2.3" }),
    );
    expect([model.irVersion, model.producerVersion, model.opsetImport]).toEqual([
      10,
      "1.2.3",
      [{ domain: "", version: 23 }],
    ]);
    expect(model.graph.node.map(node => node.opType)).toEqual(["MatMul", "Add", "Relu"]);
    expect(tensorTypeOf(model.graph.input[0]!).dims[0]).toMatchObject({ dimParam: "batch" });
    const external = model.graph.initializer.find(tensor => tensor.name === "w")!;
    const offset = Number(external.externalData!.find(entry => entry.key === "offset")!.value);
    const file = await readFile(join(dir, "rank0.safetensors"));
    expect(file.readFloatLE(offset + 4)).toBe(-2);
  });
});

import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { openEngine } from "../../src/formats/engine-dir.ts";
import { readOnnx } from "../../src/formats/onnx/read.ts";
import type { FloatDtype } from "../../src/tensor/index.ts";
import { headerOf, toldOf } from "../support/engine-files.ts";
import { PACKED } from "../support/packed.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { describeTensorRT } from "../support/tensorrt.ts";

/** One of each form that checkpoints of others become; with zero points, whose part of the product is a second one. */
const CASES: readonly (readonly [string, FloatDtype, readonly number[]])[] = [
  ["gptq_asym", "float16", [86, 120]],
  ["gptq_v2", "bfloat16", [86]],
  ["gptq_int8", "float16", [86]],
  ["awq_asym", "float16", [86]],
  ["awq_folds", "bfloat16", [89, 120]],
  ["compressed_w8a8", "float16", [86]],
  ["compressed_static", "float16", [86]],
  ["modelopt_awq", "float16", [86]],
  ["modelopt_fp8", "float16", [89]],
];

const LIMITS = { max_batch_size: 2, max_input_len: 8, max_seq_len: 16 };

const work = new Workspace();
afterAll(() => work.clean());

describeTensorRT("engines of quantized checkpoints", python => {
  it.each(CASES)("%s in %s for SM %s", async (name, dtype, sms) => {
    const checkpoint = await convertTo(work, join(PACKED, name), dtype);
    const tensorrt = { backend: "tensorrt_rtx", python, compute_capabilities: sms, workers: 2 } as const;
    const dir = await buildTo(work, checkpoint, { ...LIMITS, ...tensorrt }, { env: { PATH: "/nowhere" } });
    const [part] = (await openEngine(dir)).llmParts;
    const header = headerOf(part?.engine as string);
    expect(header).toEqual({ tag: "vtrt", size: header.length, length: part?.built?.bytes });
    const { graph } = await readOnnx(part?.onnx as string);
    const told = toldOf(dir, "llm/rank0");
    expect([told.io.from, told.sms]).toEqual(["engine", sms]);
    const io = (kind: string): string[] => told.io.tensors.filter(t => t.kind === kind).map(t => t.name);
    expect(io("input").sort()).toEqual(graph.input.map(input => input.name).sort());
    expect(io("output").sort()).toEqual(graph.output.map(output => output.name).sort());
  });
});

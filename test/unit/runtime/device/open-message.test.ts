import { describe, expect, it } from "vitest";
import { type DeviceOptions, openMessage } from "../../../../src/runtime/device/open-message.ts";
import { refuseUnmade } from "../../../../src/runtime/device/unmade.ts";
import type { RunnableEngine } from "../../../../src/runtime/runnable.ts";

const IO = [{ name: "logits", kind: "output", dtype: "float32", shape: [-1, 97], dims: ["batch", 97] }] as const;
const OPTIONS: DeviceOptions = { device: "cpu", deviceIndex: 0, runtime: "auto", recordsSteps: false, threads: 0 };

/** A language model of ranks, as far as the message reads of it. */
function engineOf(tpSize: number, nccl: string | null, rule?: object): RunnableEngine {
  const part = (rank: number) => ({ name: `llm/rank${rank}`, onnx: `/engine/llm/rank${rank}.onnx`, engine: null });
  const model = { architecture: "Some", vocab_size: 97, num_visual_features: 0, ...(rule && { visual_tokens: rule }) };
  const build_config = {
    kv_cache_type: "static",
    max_seq_len: 50,
    plugin_config: { nccl_plugin: nccl, tokens_per_block: 64 },
  };
  return {
    manifest: { backend: "onnxruntime", model },
    llm: { io: IO, profiles: [], build_config, pretrained_config: {} },
    llmParts: Array.from({ length: tpSize }, (_, rank) => part(rank)),
    encoderParts: [],
    crossParts: [],
    ranks: { tpSize, ppSize: 1 },
    tables: Array.from({ length: tpSize }, () => ({ io: IO, profiles: [] })),
  } as unknown as RunnableEngine;
}

describe("what opens an engine directory in the runner", () => {
  it("has each rank's own file, and for ranks on the CPU a share of the cores", () => {
    const message = openMessage(engineOf(2, null), OPTIONS, undefined);
    expect(message).toMatchObject({
      tp_size: 2,
      pp_size: 1,
      ranks: [[{ file: "/engine/llm/rank0.onnx" }], [{ file: "/engine/llm/rank1.onnx" }]],
      model: { vocab: 97, most_tokens: 50, spans_prompt: false },
    });
    expect(message.threads).toBeGreaterThan(0);
    expect(openMessage(engineOf(1, null), OPTIONS, undefined).threads).toBe(0);
  });

  it("refuses a plugin library that would leave out the ranks' sums, and no other", () => {
    const cuda = { ...OPTIONS, device: "cuda", plugins: "p.so" } as const;
    expect(() => openMessage(engineOf(2, null), cuda, undefined)).toThrow(/RUN056.*p\.so is given.*DistCollective/s);
    expect(openMessage(engineOf(2, "float16"), cuda, undefined).plugins).toBe("p.so");
    expect(openMessage(engineOf(1, null), cuda, undefined).plugins).toBe("p.so");
    expect(openMessage(engineOf(2, null), { ...cuda, plugins: undefined }, undefined).plugins).toBe("");
  });

  it("is not made for features that are put into rows with newlines", () => {
    expect(() => refuseUnmade(engineOf(1, null, { kind: "anyres" }))).toThrow(/RUN056.*rows of tiles with a newline/s);
    expect(() => refuseUnmade(engineOf(1, null, { kind: "aspect_ratio_tiles" }))).not.toThrow();
  });
});

import { describe, expect, it } from "vitest";
import type { EngineIo, EngineModel, LlmEngineConfig } from "../../../src/formats/engine-config.ts";
import { refuseUnmade } from "../../../src/runtime/device/unmade.ts";

type Engine = Parameters<typeof refuseUnmade>[0];

function engine(inputs: Readonly<Record<string, readonly number[]>>, kind?: "patches" | "fixed"): Engine {
  const io = Object.entries(inputs).map(
    ([name, shape]) => ({ name, kind: "input", dtype: "int32", shape }) as EngineIo,
  );
  const model = { architecture: "Qwen3VLForConditionalGeneration", ...(kind && { visual_tokens: { kind } }) };
  return { llm: { io } as unknown as LlmEngineConfig, manifest: { model: model as unknown as EngineModel } } as Engine;
}

describe("The native runner", () => {
  it("refuses in one problem all that it does not make for a model of packed patches", () => {
    const qwen3 = engine({ position_ids: [3, -1, -1], deepstack_table: [3, -1, 32] }, "patches");
    expect(() => refuseUnmade(qwen3)).toThrow(
      /RUN056.*takes the tables of packed patches, positions on three axes and deepstack_table, which the runner does not make/,
    );
    expect(() => refuseUnmade(engine({ position_ids: [3, -1, -1] }))).toThrow(/takes positions on three axes, which/);
  });

  it("takes models of one position a token and pictures of one size", () => {
    expect(() => refuseUnmade(engine({ position_ids: [-1, -1] }, "fixed"))).not.toThrow();
  });
});

import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { openEngine } from "../../src/formats/engine-dir.ts";
import type { FloatDtype } from "../../src/tensor/index.ts";
import { FIXTURES } from "../support/describe-parity.ts";
import { toldOf } from "../support/engine-files.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { describeTensorRT } from "../support/tensorrt.ts";

const LORA = new URL("../fixtures/lora/", import.meta.url).pathname;
const LIMITS = { max_batch_size: 3, max_input_len: 24, max_seq_len: 40, max_lora_rank: 8, max_loras: 2 };
const SM = 86;

const work = new Workspace();
afterAll(() => work.clean());

describeTensorRT("engines that take adapters", python => {
  const tensorrt = { backend: "tensorrt_rtx", python, compute_capabilities: [SM] } as const;

  it.each<[string, FloatDtype, "continuous" | "static"]>([
    ["llama_gqa", "float16", "continuous"],
    ["qwen2_mqa", "bfloat16", "static"],
    ["gpt2_usual", "float32", "continuous"],
  ])("%s in %s with a %s cache: adapters and ranks are sizes of both profiles", async (model, dtype, kv_cache_type) => {
    const checkpoint = await convertTo(work, join(FIXTURES, model), dtype);
    const lora_dir = [join(LORA, model, "first"), join(LORA, model, "second")];
    const dir = await buildTo(
      work,
      checkpoint,
      { ...LIMITS, ...tensorrt, kv_cache_type, lora_dir },
      { env: { PATH: "/nowhere" } },
    );
    const { llm } = await openEngine(dir);
    const { io, profiles } = toldOf(dir, "llm/rank0");
    const adapters = io.tensors.filter(({ name }) => name.startsWith("lora_"));
    const planned = llm?.io.filter(({ name }) => name.startsWith("lora_")) ?? [];
    expect(adapters.map(({ name }) => name).sort()).toEqual(planned.map(({ name }) => name).sort());
    expect(adapters.length).toBeGreaterThan(16);
    for (const { name, dtype: type, shape } of adapters) {
      if (name === "lora_task_ids") expect([type, shape]).toEqual(["int32", [-1]]);
      else expect([type, shape[0], shape[name.startsWith("lora_A") ? 1 : 2]]).toEqual([dtype, -1, -1]);
    }
    for (const { shapes } of profiles) {
      const [a] = Object.entries(shapes).find(([name]) => name.startsWith("lora_A_layers.0.")) ?? [];
      // Two adapters and none, of rank 8.
      expect(shapes[a ?? ""]?.max.slice(0, 2)).toEqual([3, 8]);
    }
  });
});

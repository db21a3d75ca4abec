import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { openEngine } from "../../src/formats/engine-dir.ts";
import type { BuildOptions } from "../../src/options/tables/build.ts";
import type { FloatDtype } from "../../src/tensor/index.ts";
import { FIXTURES } from "../support/describe-parity.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { describeTensorRT } from "../support/tensorrt.ts";

interface Case {
  readonly model: string;
  readonly dtype: FloatDtype;
  readonly build: Partial<BuildOptions>;
  readonly parts: readonly string[];
}

const PAIR = ["encoder/rank0", "decoder/cross_rank0", "decoder/rank0"];

/** Each family, dtype, cache and spelling at least once. */
const CASES: readonly Case[] = [
  { model: "t5_plain", dtype: "bfloat16", build: {}, parts: PAIR },
  { model: "t5_gated", dtype: "float16", build: { kv_cache_type: "static", max_beam_width: 3 }, parts: PAIR },
  { model: "t5_gated", dtype: "float32", build: { tensorrt_version: "10.13" }, parts: PAIR },
  { model: "bart_post", dtype: "float16", build: { max_beam_width: 2 }, parts: PAIR },
  { model: "mbart_pre", dtype: "bfloat16", build: { kv_cache_type: "static" }, parts: PAIR },
  { model: "nougat_odd", dtype: "float16", build: {}, parts: [...PAIR.slice(1), "visual"] },
  { model: "nougat_wide", dtype: "bfloat16", build: {}, parts: [...PAIR.slice(1), "visual"] },
  { model: "blip2t5_plain", dtype: "bfloat16", build: { max_input_len: 37 }, parts: [...PAIR, "visual"] },
];

describeTensorRT("encoder-decoders in TensorRT-RTX", python => {
  const work = new Workspace();
  afterAll(() => work.clean());

  it.each(CASES)("builds every engine of $model in $dtype $build", async ({ model, dtype, build, parts }) => {
    const checkpoint = await convertTo(work, join(FIXTURES, model), dtype);
    const limits = { max_batch_size: 3, max_input_len: 19, max_seq_len: 31, compute_capabilities: [86] };
    const dir = await buildTo(work, checkpoint, {
      ...limits,
      ...build,
      backend: "tensorrt_rtx",
      builder: "python",
      python,
    });
    const engine = await openEngine(dir);
    expect(engine.manifest.parts.map(({ name }) => name)).toEqual(parts);
    for (const { name, built } of engine.manifest.parts) {
      expect(built, name).toMatchObject({ sm: [86], io_from: "engine" });
      expect(built?.bytes, name).toBeGreaterThan(10_000);
    }
    const heads = engine.llm?.io.find(({ name }) => name === "cross_key_0")?.shape;
    expect(engine.llm?.cross?.io.find(({ name }) => name === "cross_key_0")?.shape).toEqual(heads);
  });
});

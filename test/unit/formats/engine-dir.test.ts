import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runPlan } from "../../../src/build/run-plan.ts";
import { MmtrtError } from "../../../src/diagnostics/index.ts";
import { openEngine } from "../../../src/formats/engine-dir.ts";
import { convertFixture, planFor } from "../../support/checkpoints.ts";

let dir: string;
let good: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "mmtrt-engine-dir-"));
  const checkpoint = await convertFixture("llava_mqa", join(dir, "checkpoint"));
  good = join(dir, "good");
  for await (const _ of runPlan(await planFor(checkpoint, good), new AbortController().signal));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

async function edited(file: string, edit: (json: Record<string, unknown>) => void): Promise<string> {
  const copy = await mkdtemp(join(dir, "copy-"));
  await cp(good, copy, { recursive: true });
  const json = JSON.parse(await readFile(join(copy, file), "utf8"));
  edit(json);
  await writeFile(join(copy, file), JSON.stringify(json));
  return copy;
}

describe("openEngine", () => {
  it("gives configs, and paths that open", async () => {
    const engine = await openEngine(good);
    expect(engine.manifest).toMatchObject({ kind: "engine", format: 1, backend: "onnxruntime", target: null });
    expect(engine.llm?.profiles.map(profile => profile.name)).toEqual(["context", "generation"]);
    expect(engine.visual?.num_visual_features).toBe(engine.manifest.model.num_visual_features);
    expect(engine.llmParts[0]?.onnx).toBe(join(good, "llm/rank0.onnx"));
    expect(engine.tokenizerDir).toBeUndefined();
  });

  it.each(["mmtrt.json", "llm/config.json", "visual/model.onnx", "llm/rank0.safetensors"])(
    "names a missing %s",
    async file => {
      const copy = await edited("mmtrt.json", () => undefined);
      await rm(join(copy, file));
      await expect(openEngine(copy)).rejects.toThrow(new RegExp(`BLD002.*${file}`, "s"));
    },
  );

  it("refuses a checkpoint with the right hint", async () => {
    await expect(openEngine(join(dir, "checkpoint"))).rejects.toThrow(/BLD002.*describes a "checkpoint"/s);
  });

  it.each([
    ["mmtrt.json", "format", 2],
    ["mmtrt.json", "backend", "tvm"],
    ["mmtrt.json", "parts", []],
    ["llm/config.json", "build_config", { max_batch_size: 0 }],
    ["llm/config.json", "profiles", [{ name: "context" }]],
    ["mmtrt.json", "target", undefined],
    ["mmtrt.json", "options", null],
    ["llm/config.json", "io", [{ name: "x", kind: "input", dtype: "float17", shape: [1], dims: [1] }]],
    ["llm/config.json", "io", [{ name: "x", kind: "input", dtype: "float16", shape: [1], dims: [null] }]],
    ["llm/config.json", "io", [{ name: "constructor", kind: "input", dtype: "float16", shape: [1], dims: [1] }]],
    ["llm/config.json", "pp_stages", [{ first_rank: 1, io: [] }]],
    ["visual/config.json", "image_shape", [3, 336]],
  ])("refuses %s with %s %j", async (file, key, value) => {
    const copy = await edited(file, json => Object.assign(json, { [key]: value }));
    await expect(openEngine(copy)).rejects.toThrow(/BLD003/);
  });

  it("follows no path of a manifest out of the directory", async () => {
    const copy = await edited("mmtrt.json", json => {
      (json.parts as Record<string, string>[])[0]!.weights = "../../etc/passwd";
    });
    await expect(openEngine(copy)).rejects.toThrow(/BLD003.*parts/s);
  });

  it("throws nothing but MmtrtError for any cut or flipped byte", async () => {
    const copy = await edited("mmtrt.json", () => undefined);
    for (const file of ["mmtrt.json", "llm/config.json"]) {
      const bytes = await readFile(join(good, file));
      const place = fc.nat({ max: bytes.length - 1 });
      await fc.assert(
        fc.asyncProperty(place, fc.integer({ min: 1, max: 255 }), fc.boolean(), async (at, flip, cut) => {
          const wrong = cut ? bytes.subarray(0, at) : Buffer.from(bytes);
          if (!cut) wrong[at]! ^= flip;
          await writeFile(join(copy, file), wrong);
          await openEngine(copy).catch((error: unknown) => expect(error).toBeInstanceOf(MmtrtError));
        }),
        { numRuns: 50 },
      );
      await writeFile(join(copy, file), bytes);
    }
  });
});

import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { BuildEvent } from "../../../src/build/events.ts";
import type { BuildPlan } from "../../../src/build/plan.ts";
import { runPlan } from "../../../src/build/run-plan.ts";
import { openEngine } from "../../../src/formats/engine-dir.ts";
import { convertFixture, planFor } from "../../support/checkpoints.ts";

let dir: string;
let checkpoint: string;
let engines: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "mmtrt-build-"));
  checkpoint = await convertFixture("llava_mqa", join(dir, "checkpoint"));
  engines = join(dir, "engines");
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const never = new AbortController().signal;

async function run(plan: BuildPlan, signal: AbortSignal = never): Promise<BuildEvent[]> {
  const events: BuildEvent[] = [];
  for await (const event of runPlan(plan, signal)) events.push(event);
  return events;
}

const names = async (): Promise<string[]> => (await readdir(dir)).sort();
const inode = async (file: string): Promise<number> => (await stat(join(dir, file))).ino;

describe("runPlan", () => {
  it("writes the directory of DESIGN §5, weights by hard link", async () => {
    const events = await run(await planFor(checkpoint, engines));
    expect((await readdir(engines, { recursive: true })).sort()).toEqual([
      "llm",
      "llm/config.json",
      "llm/rank0.onnx",
      "llm/rank0.safetensors",
      "mmtrt.json",
      "visual",
      "visual/config.json",
      "visual/model.onnx",
      "visual/model.safetensors",
    ]);
    expect(await inode("engines/llm/rank0.safetensors")).toBe(await inode("checkpoint/rank0.safetensors"));
    expect(await names()).toEqual(["checkpoint", "engines"]);
    const built = events.at(-1);
    const weights = (await stat(join(checkpoint, "rank0.safetensors"))).size;
    const visual = (await stat(join(checkpoint, "visual/model.safetensors"))).size;
    expect(built).toMatchObject({ event: "built", linked_bytes: weights + visual });
  });

  it("writes graphs that ONNX Runtime runs at the profile's opt sizes", async () => {
    await run(await planFor(checkpoint, engines, { max_batch_size: 3 }));
    const { llm, llmParts, visualPart, manifest } = await openEngine(engines);
    const session = await InferenceSession.create(llmParts[0]!.onnx);
    const shapes = llm!.profiles[0]!.shapes;
    const feeds = Object.fromEntries(
      llm!.io
        .filter(value => value.kind === "input")
        .map(({ name, dtype }) => {
          const shape = shapes[name]!.opt;
          const count = shape.reduce((a, b) => a * b, 1);
          if (dtype !== "int32") return [name, new Tensor("float32", new Float32Array(count), shape)];
          return [name, new Tensor("int32", new Int32Array(count).fill(name === "last_token_ids" ? 0 : 1), shape)];
        }),
    );
    const { logits } = (await session.run(feeds)) as { logits: Tensor };
    expect(logits.dims).toEqual([shapes.last_token_ids!.opt[0], manifest.model.vocab_size]);
    expect([...(logits.data as Float32Array)].every(Number.isFinite)).toBe(true);
    const visual = await InferenceSession.create(visualPart!.onnx);
    expect(visual.inputNames).toEqual(["input"]);
  });

  it("copies weights with copy_weights, bytes equal", async () => {
    const events = await run(await planFor(checkpoint, engines, { copy_weights: true }));
    expect(await inode("engines/llm/rank0.safetensors")).not.toBe(await inode("checkpoint/rank0.safetensors"));
    const [copy, source] = ["engines/llm/rank0.safetensors", "checkpoint/rank0.safetensors"];
    expect((await readFile(join(dir, copy!))).equals(await readFile(join(dir, source!)))).toBe(true);
    expect(events).toContainEqual(expect.objectContaining({ event: "progress", id: "llm/rank0.safetensors" }));
    expect(events.at(-1)).toMatchObject({ linked_bytes: 0 });
  });

  it("links the file a symbolic link leads to, because engines refuse weights outside their folder", async () => {
    const real = join(dir, "blob");
    await writeFile(real, await readFile(join(checkpoint, "rank0.safetensors")));
    await rm(join(checkpoint, "rank0.safetensors"));
    await symlink(real, join(checkpoint, "rank0.safetensors"));
    await run(await planFor(checkpoint, engines));
    expect(await inode("engines/llm/rank0.safetensors")).toBe(await inode("blob"));
  });

  it("writes configs in TensorRT-LLM's shape, with profiles and I/O", async () => {
    await run(await planFor(checkpoint, engines, { max_batch_size: 2 }));
    const config = JSON.parse(await readFile(join(engines, "llm/config.json"), "utf8"));
    expect(Object.keys(config)).toEqual(["version", "pretrained_config", "build_config", "profiles", "io"]);
    expect(config.pretrained_config).toEqual(JSON.parse(await readFile(join(checkpoint, "config.json"), "utf8")));
    expect(config.profiles.map((profile: { name: string }) => profile.name)).toEqual(["context", "generation"]);
    const visual = JSON.parse(await readFile(join(engines, "visual/config.json"), "utf8"));
    expect(visual.builder_config).toMatchObject({ precision: "float32", model_type: "llava", max_batch_size: 2 });
  });

  it("has nothing to do the second time, and touches nothing", async () => {
    await run(await planFor(checkpoint, engines));
    const before = await stat(join(engines, "mmtrt.json"));
    const events = await run(await planFor(checkpoint, engines));
    expect(events).toEqual([{ event: "fresh", dir: engines, reason: expect.stringContaining("same checkpoint") }]);
    expect((await stat(join(engines, "mmtrt.json"))).mtimeMs).toBe(before.mtimeMs);
  });

  it("refuses to replace another build and names the difference, and replaces it with --force", async () => {
    await run(await planFor(checkpoint, engines, { max_batch_size: 1 }));
    await expect(run(await planFor(checkpoint, engines, { max_batch_size: 8 }))).rejects.toThrow(
      /BLD001.*another build: max_batch_size 1 → 8, max_multimodal_len/s,
    );
    await run(await planFor(checkpoint, engines, { max_batch_size: 8, force: true }));
    expect((await openEngine(engines)).llm?.build_config.max_batch_size).toBe(8);
    expect(await names()).toEqual(["checkpoint", "engines"]);
  });

  it("builds again when a weight file was written again", async () => {
    await run(await planFor(checkpoint, engines));
    await utimes(join(checkpoint, "rank0.safetensors"), 1e9, 1e9);
    await expect(run(await planFor(checkpoint, engines))).rejects.toThrow(/BLD001.*the checkpoint has changed/s);
  });

  it.each([true, false])("never touches a directory of somebody else's files (--force %s)", async force => {
    await mkdir(engines);
    await writeFile(join(engines, "thesis.tex"), "years of work");
    await expect(run(await planFor(checkpoint, engines, { force }))).rejects.toThrow(/BLD001.*thesis\.tex/s);
    expect(await names()).toEqual(["checkpoint", "engines"]);
    expect(await readdir(engines)).toEqual(["thesis.tex"]);
  });

  it("keeps a file that somebody put beside our engines, with --force too", async () => {
    await run(await planFor(checkpoint, engines));
    await writeFile(join(engines, "notes.txt"), "x");
    const plan = await planFor(checkpoint, engines, { max_batch_size: 2, force: true });
    await expect(run(plan)).rejects.toThrow(/BLD001.*notes\.txt/s);
    expect(await readdir(engines)).toContain("notes.txt");
  });

  it("uses an empty directory", async () => {
    await mkdir(engines);
    expect((await run(await planFor(checkpoint, engines))).at(-1)?.event).toBe("built");
  });

  it.each([1, 3, 5, 9])("leaves nothing after an abort at event %i, and the older build whole", async at => {
    await run(await planFor(checkpoint, engines));
    const before = await readFile(join(engines, "mmtrt.json"), "utf8");
    const abort = new AbortController();
    let seen = 0;
    const aborted = async (): Promise<void> => {
      const plan = await planFor(checkpoint, engines, { max_batch_size: 2, force: true, copy_weights: true });
      for await (const _ of runPlan(plan, abort.signal)) if (++seen === at) abort.abort();
    };
    await expect(aborted()).rejects.toThrow(/abort/i);
    expect(await names()).toEqual(["checkpoint", "engines"]);
    expect(await readFile(join(engines, "mmtrt.json"), "utf8")).toBe(before);
  });

  it("leaves nothing when the reader of events walks away", async () => {
    const plan = await planFor(checkpoint, engines);
    for await (const event of runPlan(plan, never)) if (event.event === "step") break;
    expect(await names()).toEqual(["checkpoint"]);
  });

  it("clears away what a killed build left, and nothing that it cannot know to be a build's", async () => {
    await mkdir(`${engines}.partial/llm`, { recursive: true });
    await writeFile(join(`${engines}.partial`, "build.json"), JSON.stringify({ pid: 2 ** 30, host: "elsewhere" }));
    expect((await run(await planFor(checkpoint, engines))).at(-1)?.event).toBe("built");
    expect(await names()).toEqual(["checkpoint", "engines"]);
    await mkdir(`${engines}.partial`);
    await writeFile(join(`${engines}.partial`, "holiday.jpg"), "");
    const other = await planFor(checkpoint, engines, { max_batch_size: 2, force: true });
    await expect(run(other)).rejects.toThrow(/BLD001.*holiday\.jpg/s);
    expect(await readdir(`${engines}.partial`)).toEqual(["holiday.jpg"]);
  });

  it.each([
    ["before it wrote who it was", ["build.json"]],
    ["when all was written and the directory had no name yet", ["mmtrt.json", "llm", "tokenizer"]],
  ])("clears away what a build left that was killed %s", async (_, left) => {
    await mkdir(`${engines}.partial`);
    for (const name of left) await writeFile(join(`${engines}.partial`, name), "");
    expect((await run(await planFor(checkpoint, engines))).at(-1)?.event).toBe("built");
    expect(await names()).toEqual(["checkpoint", "engines"]);
  });

  it("says so when the output cannot be written", async () => {
    await writeFile(join(dir, "file"), "");
    await expect(run(await planFor(checkpoint, join(dir, "file", "engines")))).rejects.toThrow(/CKP009.*cannot be/s);
  });

  it("runs no plan with problems", async () => {
    const plan = await planFor(checkpoint, engines, { max_multimodal_len: 1 });
    await expect(run(plan)).rejects.toThrow(/BLD014/);
    expect(await names()).toEqual(["checkpoint"]);
  });

  it("refuses a plan whose checkpoint has become another one", async () => {
    const plan = await planFor(checkpoint, engines);
    await rm(checkpoint, { recursive: true });
    await convertFixture("llava_wide", checkpoint);
    await expect(run(plan)).rejects.toThrow(/BLD005.*not the planned one/s);
    expect(await names()).toEqual(["checkpoint"]);
  });
});

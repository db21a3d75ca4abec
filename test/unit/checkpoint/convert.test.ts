import { createHash } from "node:crypto";
import { chmod, cp, mkdir, mkdtemp, open, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type ConvertRequest, type ConvertResult, convert } from "../../../src/checkpoint/convert.ts";
import type { CheckpointManifest } from "../../../src/checkpoint/manifest.ts";
import { findPublished } from "../../../src/checkpoint/published.ts";
import { openCheckpoint } from "../../../src/checkpoint/read.ts";
import { synth } from "../../../src/checkpoint/synth.ts";
import { MmtrtError, type Problem } from "../../../src/diagnostics/index.ts";

let root: string;
let model: string;
let dir: string;
let count = 0;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "mmtrt-convert-"));
  model = join(root, "llava");
  await synth({
    config: (await findPublished("llava-tiny", "--preset")).config,
    dtype: "float32",
    seed: 1,
    maxShardSize: 200_000,
    outputDir: model,
  });
});
beforeEach(async () => {
  dir = join(root, `case${count++}`);
  await mkdir(dir);
});
afterAll(() => rm(root, { recursive: true, force: true }));

function run(more: Partial<ConvertRequest> = {}): Promise<ConvertResult> {
  return convert({
    modelDir: model,
    outputDir: join(dir, "out"),
    dtype: "float16",
    parallel: { tpSize: 2, ppSize: 1, parallelEmbedding: false, embeddingShardingDim: 0, shareEmbedding: false },
    workers: 2,
    strict: false,
    hash: true,
    version: "0.0.0-test",
    ...more,
  });
}

async function problemsOf(work: Promise<unknown>): Promise<readonly Problem[]> {
  const error = await work.then(
    () => undefined,
    (e: unknown) => e,
  );
  if (!(error instanceof MmtrtError)) throw error ?? new Error("it succeeded");
  return error.problems;
}

/** A copy of the model whose file is changed by `change`. */
async function changed(change: (copy: string) => Promise<unknown>): Promise<string> {
  const copy = join(dir, "model");
  await cp(model, copy, { recursive: true });
  await change(copy);
  return copy;
}

const editConfig = (copy: string, edit: (config: Record<string, unknown>) => unknown): Promise<unknown> =>
  readFile(join(copy, "config.json"), "utf8").then(text =>
    writeFile(join(copy, "config.json"), JSON.stringify(edit(JSON.parse(text) as Record<string, unknown>))),
  );

/** Overwrites the first bytes of a tensor in its shard. */
async function poke(copy: string, tensor: string, bytes: Uint8Array): Promise<void> {
  const index = JSON.parse(await readFile(join(copy, "model.safetensors.index.json"), "utf8")) as {
    weight_map: Record<string, string>;
  };
  const path = join(copy, index.weight_map[tensor] as string);
  const file = await readFile(path);
  const length = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, 8 + length)) as Record<string, { data_offsets: [number, number] }>;
  const handle = await open(path, "r+");
  await handle.write(bytes, 0, bytes.byteLength, 8 + length + (header[tensor]?.data_offsets[0] ?? 0));
  await handle.close();
}

describe("convert", () => {
  it("writes ranks, visual part, configs and a manifest with the hashes of the sources", async () => {
    const events: number[] = [];
    const result = await run({ onProgress: ({ done, total }) => events.push(done / total) });
    expect(result.status).toBe("converted");
    expect((await readdir(join(dir, "out"))).sort()).toEqual([
      "config.json",
      "hf_config.json",
      "mmtrt.json",
      "rank0.safetensors",
      "rank1.safetensors",
      "tokenizer",
      "visual",
    ]);
    expect(await readdir(dir)).toEqual(["out"]);
    expect(events.at(-1)).toBe(1);
    expect(events.every((e, i) => i === 0 || e >= (events[i - 1] as number))).toBe(true);
    const manifest = JSON.parse(await readFile(join(dir, "out", "mmtrt.json"), "utf8")) as CheckpointManifest;
    expect(manifest.source.files.length).toBeGreaterThan(1);
    for (const { name, size, sha256 } of manifest.source.files) {
      const bytes = await readFile(join(model, name));
      expect({ size, sha256 }).toEqual({
        size: bytes.byteLength,
        sha256: createHash("sha256").update(bytes).digest("hex"),
      });
    }
    expect(manifest.coverage.ignored.every(name => /vision_tower/.test(name))).toBe(true);
  });

  it("identifies the sources by samples when their whole hash is not asked for", async () => {
    const files = async (modelDir: string, name: string): Promise<CheckpointManifest["source"]["files"]> => {
      await run({ modelDir, outputDir: join(dir, name), hash: false });
      return (JSON.parse(await readFile(join(dir, name, "mmtrt.json"), "utf8")) as CheckpointManifest).source.files;
    };
    const copy = await changed(at => poke(at, "language_model.lm_head.weight", new Uint8Array([1, 2, 3, 4])));
    const [before, same, after] = [await files(model, "a"), await files(model, "b"), await files(copy, "c")];
    expect(before.every(({ sha256, sample_sha256 }) => sha256 === null && /^[0-9a-f]{64}$/.test(sample_sha256))).toBe(
      true,
    );
    expect(same).toEqual(before);
    expect(after.filter((file, i) => file.sample_sha256 !== before[i]?.sample_sha256)).toHaveLength(1);
  });

  it("gives build the model, the options and where each tensor's bytes lie", async () => {
    await run({ dtype: "auto", hash: false });
    const checkpoint = await openCheckpoint(join(dir, "out"));
    expect(checkpoint.spec.vision?.numVisualFeatures).toBe(9);
    expect(checkpoint.parallel).toEqual({
      tpSize: 2,
      ppSize: 1,
      parallelEmbedding: false,
      embeddingShardingDim: 0,
      shareEmbedding: false,
    });
    expect(checkpoint.config.dtype).toBe("float32");
    const head = checkpoint.ranks[1]?.tensors.get("lm_head.weight");
    expect(head?.shape).toEqual([100, 48]);
    expect(head?.range).toMatchObject({ file: join(dir, "out", "rank1.safetensors"), length: 100 * 48 * 4 });
    expect(
      [...(checkpoint.visual?.tensors.keys() ?? [])].every(name =>
        /^(vision_tower\.vision_model|multi_modal_projector)\./.test(name),
      ),
    ).toBe(true);
    expect(checkpoint.visual?.config).toMatchObject({ num_visual_features: 9, dtype: "float32" });
    await checkpoint.close();
  });

  it("says what run will lack, and with strict refuses it", async () => {
    expect((await run()).warnings.map(({ code }) => code)).toEqual(["CKP049", "CKP049"]);
    expect((await problemsOf(run({ outputDir: join(dir, "strict"), strict: true }))).map(({ code }) => code)).toEqual([
      "CKP049",
      "CKP049",
    ]);
    expect(await readdir(dir)).toEqual(["out"]);
  });

  it("copies tokenizer and processor files", async () => {
    const copy = await changed(async at => {
      for (const name of ["tokenizer.json", "preprocessor_config.json", "chat_template.jinja"])
        await writeFile(join(at, name), `{"${name}": 1}`);
    });
    const { warnings } = await run({ modelDir: copy });
    expect(warnings).toEqual([]);
    expect((await readdir(join(dir, "out", "tokenizer"))).sort()).toEqual([
      "chat_template.jinja",
      "preprocessor_config.json",
      "tokenizer.json",
    ]);
    expect(await readFile(join(dir, "out", "tokenizer", "tokenizer.json"), "utf8")).toBe('{"tokenizer.json": 1}');
  });

  it("has nothing to do when the directory holds this very conversion, and refuses another one there", async () => {
    await run();
    const before = await stat(join(dir, "out", "rank0.safetensors"));
    expect((await run()).status).toBe("unchanged");
    expect((await stat(join(dir, "out", "rank0.safetensors"))).mtimeMs).toBe(before.mtimeMs);
    expect((await problemsOf(run({ dtype: "bfloat16" }))).map(({ code }) => code)).toEqual(["CKP046"]);
    expect(await readdir(dir)).toEqual(["out"]);
  });

  it("refuses a directory with files of somebody else and a path that is a file", async () => {
    await mkdir(join(dir, "out"));
    await writeFile(join(dir, "out", "notes.txt"), "mine");
    expect((await problemsOf(run()))[0]).toMatchObject({ code: "CKP046", what: expect.stringContaining("notes.txt") });
    expect(await readdir(dir)).toEqual(["out"]);
    expect((await problemsOf(run({ outputDir: join(dir, "out", "notes.txt") })))[0]?.code).toBe("CKP046");
    expect(await readFile(join(dir, "out", "notes.txt"), "utf8")).toBe("mine");
  });

  it("refuses a stage directory that is not its own, and one that another process writes", async () => {
    await mkdir(join(dir, "out.partial"));
    await writeFile(join(dir, "out.partial", "thesis.tex"), "mine");
    expect((await problemsOf(run()))[0]?.code).toBe("CKP046");
    expect(await readdir(join(dir, "out.partial"))).toEqual(["thesis.tex"]);
    // The parent of this process lives as long as the test does.
    const state = { fingerprint: "another", pid: process.ppid, host: hostname(), finished: {} };
    await rm(join(dir, "out.partial", "thesis.tex"));
    await writeFile(join(dir, "out.partial", "convert.json"), JSON.stringify(state));
    expect((await problemsOf(run()))[0]).toMatchObject({
      code: "CKP047",
      what: expect.stringContaining(`${process.ppid}`),
    });
    await writeFile(join(dir, "out.partial", "convert.json"), JSON.stringify({ ...state, pid: 2 ** 22 + 1 }));
    expect((await run()).status).toBe("converted");
  });

  it.skipIf(process.getuid?.() === 0)("refuses a read-only place", async () => {
    await chmod(dir, 0o500);
    expect((await problemsOf(run()))[0]?.code).toBe("CKP009");
    await chmod(dir, 0o700);
    expect(await readdir(dir)).toEqual([]);
  });
});

describe("an interrupted conversion", () => {
  const abortAfter = (share: number): Required<Pick<ConvertRequest, "signal" | "onProgress">> => {
    const controller = new AbortController();
    return {
      signal: controller.signal,
      onProgress: ({ done, total }) => {
        if (done / total > share) controller.abort(new Error("stopped"));
      },
    };
  };

  it("leaves nothing under the final name, and the next run continues with the finished files", async () => {
    await expect(run({ workers: 1, ...abortAfter(0.75) })).rejects.toThrow("stopped");
    expect(await readdir(dir)).toEqual(["out.partial"]);
    const tower = await stat(join(dir, "out.partial", "visual", "model.safetensors"));
    // The ranks are written side by side, so neither is complete.
    expect(await readdir(join(dir, "out.partial"))).not.toContain("rank0.safetensors");
    const result = await run();
    expect(result.status).toBe("resumed");
    expect((await stat(join(dir, "out", "visual", "model.safetensors"))).ino).toBe(tower.ino);
    expect(await readdir(dir)).toEqual(["out"]);
    await run({ outputDir: join(dir, "whole") });
    for (const file of ["rank0.safetensors", "rank1.safetensors", "visual/model.safetensors", "config.json"]) {
      expect(await readFile(join(dir, "out", file))).toEqual(await readFile(join(dir, "whole", file)));
    }
  });

  it("before the first file is finished leaves nothing at all", async () => {
    await expect(run({ workers: 1, ...abortAfter(0.01) })).rejects.toThrow("stopped");
    expect(await readdir(dir)).toEqual([]);
    await expect(run({ workers: 1, outputDir: join(dir, "a", "b", "c"), ...abortAfter(0.01) })).rejects.toThrow(
      "stopped",
    );
    expect(await readdir(dir)).toEqual([]);
  });

  it("killed before its state was written is started anew", async () => {
    await mkdir(join(dir, "out.partial"));
    await writeFile(join(dir, "out.partial", "convert.json.partial"), '{"finger');
    expect((await run()).status).toBe("converted");
    expect(await readdir(dir)).toEqual(["out"]);
  });

  it("of other options is started anew", async () => {
    await expect(run({ workers: 1, ...abortAfter(0.75) })).rejects.toThrow("stopped");
    expect((await run({ dtype: "bfloat16" })).status).toBe("converted");
  });
});

describe("wrong input", () => {
  const nan = new Uint8Array(new Uint32Array([0x7fc00000, 0xff800000, 0x7f800000]).buffer);

  it("with NaN weights is converted with a warning that counts them", async () => {
    const copy = await changed(at => poke(at, "language_model.model.layers.1.mlp.up_proj.weight", nan));
    const { warnings } = await run({ modelDir: copy });
    expect(warnings.filter(({ code }) => code === "CKP048").map(({ what, at }) => `${what} @ ${at}`)).toEqual([
      "transformer.layers.1.mlp.gate.weight has 1 NaN and 2 infinite values @ transformer.layers.1.mlp.gate.weight in rank0.safetensors",
    ]);
    await writeFile(join(copy, "tokenizer.json"), "{}");
    await writeFile(join(copy, "preprocessor_config.json"), "{}");
    expect((await problemsOf(run({ modelDir: copy, outputDir: join(dir, "strict"), strict: true })))[0]?.code).toBe(
      "CKP048",
    );
    expect((await readdir(dir)).sort()).toEqual(["model", "out"]);
  });

  it("with values that float16 cannot hold is warned about as infinite", async () => {
    const copy = await changed(at =>
      poke(at, "language_model.model.norm.weight", new Uint8Array(new Float32Array([7e4]).buffer)),
    );
    expect(
      (await run({ modelDir: copy })).warnings.filter(({ code }) => code === "CKP048").map(({ what }) => what),
    ).toEqual([
      "transformer.ln_f.weight has 0 NaN and 1 infinite values",
      "transformer.ln_f.weight has 0 NaN and 1 infinite values",
    ]);
  });

  it.each<[string, string, (config: Record<string, unknown>) => unknown]>([
    ["of an unknown architecture", "SPC008", c => ({ ...c, architectures: ["FuyuForCausalLM"] })],
    [
      "with an unread key",
      "SPC003",
      c => ({ ...c, text_config: { ...(c.text_config as object), sliding_window: 99 } }),
    ],
    [
      "with more layers than weights",
      "CKP040",
      c => ({ ...c, text_config: { ...(c.text_config as object), num_hidden_layers: 5 } }),
    ],
    ["with an image token outside the vocabulary", "SPC007", c => ({ ...c, image_token_index: 199 })],
    ["that is quantized", "SPC009", c => ({ ...c, quantization_config: { quant_method: "hqq" } })],
    ["that is no object", "CKP008", () => [1]],
  ])("%s is refused with %s and leaves nothing", async (_, code, edit) => {
    const copy = await changed(at => editConfig(at, edit));
    const problems = await problemsOf(run({ modelDir: copy }));
    expect(problems.map(problem => problem.code)).toEqual([code]);
    for (const { what, at, why, fix } of problems)
      expect([what, at, why, fix].every(text => text.length > 5)).toBe(true);
    expect(await readdir(dir)).toEqual(["model"]);
  });

  it("that tp_size does not divide is refused at the flag the user typed", async () => {
    const parallel = {
      tpSize: 4,
      ppSize: 2,
      parallelEmbedding: false,
      embeddingShardingDim: 0,
      shareEmbedding: false,
    } as const;
    const problems = await problemsOf(run({ parallel, origin: key => `mmtrt.yaml: ${key}` }));
    expect(problems.map(({ code, at }) => `${code} ${at}`)).toEqual([
      "CKP052 mmtrt.yaml: tp_size",
      "CKP053 mmtrt.yaml: pp_size",
    ]);
  });

  it("named twice or not at all is a usage problem", async () => {
    expect((await problemsOf(run({ metaDir: model })))[0]?.code).toBe("CKP055");
    expect((await problemsOf(run({ modelDir: undefined })))[0]?.code).toBe("CKP055");
  });
});

describe("openCheckpoint", () => {
  it("tells a Hugging Face directory, a cut rank file and a changed config from a checkpoint", async () => {
    expect((await problemsOf(openCheckpoint(model)))[0]?.code).toBe("CKP050");
    await run();
    const out = join(dir, "out");
    const rank1 = await readFile(join(out, "rank1.safetensors"));
    await rm(join(out, "rank1.safetensors"));
    expect((await problemsOf(openCheckpoint(out)))[0]?.code).toBe("CKP001");
    await cp(join(out, "rank0.safetensors"), join(out, "rank1.safetensors"));
    await (await openCheckpoint(out)).close();
    await writeFile(join(out, "rank1.safetensors"), rank1.subarray(0, rank1.byteLength - 4));
    expect((await problemsOf(openCheckpoint(out))).length).toBeGreaterThan(0);
    await writeFile(join(out, "rank1.safetensors"), rank1);
    await editConfig(out, c => c);
    const hf = JSON.parse(await readFile(join(out, "hf_config.json"), "utf8")) as Record<string, unknown>;
    await writeFile(
      join(out, "hf_config.json"),
      JSON.stringify({ ...hf, text_config: { ...(hf.text_config as object), intermediate_size: 90 } }),
    );
    expect((await problemsOf(openCheckpoint(out))).map(({ code }) => code)).toEqual(["CKP051", "CKP051"]);
  });
});

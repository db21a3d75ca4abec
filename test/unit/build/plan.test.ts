import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MmtrtError } from "../../../src/diagnostics/index.ts";
import type { BuildOptions } from "../../../src/options/tables/build.ts";
import { convertFixture, planFor } from "../../support/checkpoints.ts";
import { sparseCheckpoint } from "../../support/sparse-checkpoint.ts";

let dir: string;
let llava: string;
let llama: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "mmtrt-plan-"));
  llava = await convertFixture("llava_mqa", join(dir, "llava"));
  llama = await convertFixture("llama_gqa", join(dir, "llama"));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

function plan(given: Partial<BuildOptions> = {}, checkpoint = llava): ReturnType<typeof planFor> {
  return planFor(checkpoint, join(dir, "engines"), given);
}

describe("planBuild on published shapes, weights as holes", () => {
  it("takes LLaVA-1.5-7B as its README builds it: 576 rows an image, 2048 + 512 tokens", async () => {
    const checkpoint = sparseCheckpoint(join(dir, "llava-7b"), "llava-1.5-7b");
    const made = await plan(
      { max_batch_size: 8, max_input_len: 2048, max_seq_len: 2560, gpu: "A100-80GB" },
      checkpoint,
    );
    expect(made.problems).toEqual([]);
    expect(made.configs.llm?.build_config.max_multimodal_len).toBe(4608);
    const [context] = made.engines[0]?.profiles ?? [];
    expect(context?.shapes.prompt_embedding_table).toEqual({ min: [1, 4096], opt: [2304, 4096], max: [4608, 4096] });
    expect(made.memory.ranks[0]?.items.find(item => item.what === "weights")?.bytes).toBe(
      (6_738_415_616 + 2 * 64 * 4096) * 2,
    );
  });

  it("splits LLaMA-2-70B over 8 GPUs, one key/value head each, and sees that T4s are too small", async () => {
    const checkpoint = sparseCheckpoint(join(dir, "70b-tp8"), "llama-2-70b", { tpSize: 8 });
    const given = { backend: "tensorrt", max_seq_len: 4096, max_batch_size: 8, gpu: "H100" } as const;
    const made = await plan(given, checkpoint);
    expect(made.problems).toEqual([]);
    expect(made.engines.length).toBe(8);
    expect(made.engines[7]?.profiles[1]?.shapes.past_key_79?.max).toEqual([8, 1, 4095, 128]);
    const kv = made.memory.ranks[7]?.items.find(item => item.what === "kv_cache")?.bytes;
    expect(kv).toBe((8 * 4096 * 80 * 2 * 8 * 128 * 2) / 8);
    const [overfull] = (await plan({ ...given, gpu: "T4" }, checkpoint)).problems;
    expect(overfull).toMatchObject({ code: "BLD009", at: "--gpu (command line)" });
  });
});

describe("planBuild", () => {
  it("plans a decoder and an image encoder for a LLaVA checkpoint, and says what it chose", async () => {
    const made = await plan({ max_batch_size: 3 });
    expect(made.engines.map(({ name, onnx, weights, engine }) => ({ name, onnx, weights, engine }))).toEqual([
      { name: "llm/rank0", onnx: "llm/rank0.onnx", weights: "llm/rank0.safetensors", engine: null },
      { name: "visual", onnx: "visual/model.onnx", weights: "visual/model.safetensors", engine: null },
    ]);
    const rows = 3 * made.model.num_visual_features;
    expect(made.adjustments).toContainEqual({
      option: "max_multimodal_len",
      from: "auto",
      to: rows,
      why: `max_batch_size 3 × ${made.model.num_visual_features} visual features of an image`,
    });
    expect(made.configs.llm?.build_config).toMatchObject({ max_batch_size: 3, max_prompt_embedding_table_size: rows });
    expect(made.problems).toEqual([]);
  });

  it("is plain frozen data that survives JSON", async () => {
    const made = await plan();
    expect(JSON.parse(JSON.stringify(made))).toEqual(made);
    expect(Object.isFrozen(made.engines[0]?.profiles[0]?.shapes)).toBe(true);
  });

  it("leaves the prompt table out of a text model, unless rows are asked for", async () => {
    const inputs = async (given: Partial<BuildOptions>): Promise<string[]> =>
      (await plan(given, llama)).engines.flatMap(engine => engine.io.map(value => value.name));
    expect(await inputs({})).not.toContain("prompt_embedding_table");
    expect(await inputs({ max_multimodal_len: 19 })).toContain("prompt_embedding_table");
  });

  it("describes every engine's inputs and outputs with −1 for what a request decides", async () => {
    const [engine] = (await plan({}, llama)).engines;
    expect(engine?.io.find(value => value.name === "attention_mask")).toEqual({
      name: "attention_mask",
      kind: "input",
      dtype: "int32",
      shape: [-1, -1],
      dims: ["batch", "past + seq"],
    });
    expect(engine?.io.find(value => value.name === "logits")).toMatchObject({ kind: "output", dtype: "float32" });
  });

  it("makes one engine a rank for tensor and pipeline parallelism, later stages with inputs of their own", async () => {
    const checkpoint = await convertFixture("llama_gqa", join(dir, "pp3"), { ppSize: 3 });
    const made = await plan({ backend: "tensorrt" }, checkpoint);
    expect(made.engines.map(engine => engine.engine)).toEqual([
      "llm/rank0.engine",
      "llm/rank1.engine",
      "llm/rank2.engine",
    ]);
    expect(made.configs.llm?.pp_stages?.map(stage => stage.first_rank)).toEqual([1, 2]);
    expect(made.configs.llm?.pp_stages?.[0]?.io.map(value => value.name)).toContain("hidden_states_input");
    expect(made.memory.ranks.length).toBe(3);
  });

  it("says that ONNX Runtime runs the ranks in one process", async () => {
    const checkpoint = await convertFixture("llama_gqa", join(dir, "pp3-warn"), { ppSize: 3 });
    expect((await plan({}, checkpoint)).warnings.map(warning => warning.code)).toContain("BLD028");
  });

  it("widens bfloat16 for ONNX Runtime, in the graph and in the account, and keeps it for TensorRT", async () => {
    const checkpoint = await convertFixture("llama_gqa", join(dir, "bf16"), { dtype: "bfloat16" });
    const weights = async (backend: BuildOptions["backend"]): Promise<[string | undefined, number | undefined]> => {
      const made = await plan({ backend }, checkpoint);
      return [made.engines[0]?.options.computeDtype, made.memory.ranks[0]?.items[0]?.bytes];
    };
    const [wide, wideBytes] = await weights("onnxruntime");
    const [narrow, narrowBytes] = await weights("tensorrt");
    expect([wide, narrow]).toEqual(["float32", "bfloat16"]);
    expect(wideBytes).toBe(narrowBytes! * 2);
  });

  it("gives a static cache the capacity of max_seq_len", async () => {
    const made = await plan({ kv_cache_type: "static", max_seq_len: 61, max_input_len: 50 });
    expect(made.engines[0]?.profiles[0]?.shapes.cache_key_0?.max[2]).toBe(61);
    expect(made.memory.ranks[0]?.items.map(item => item.what)).not.toContain("kv_cache_step");
  });

  it("collects problems of rules and of the GPU, with the account made and nothing planned to be written", async () => {
    const made = await plan({ max_input_len: 900, max_seq_len: 89, max_batch_size: 60000, gpu: "T4" });
    expect(made.problems.map(problem => problem.code)).toEqual(["BLD010", "BLD009"]);
    expect(made.engines).toEqual([]);
    expect(made.steps).toEqual([]);
    expect(made.memory.peak).toBeGreaterThan(15360 * 1024 ** 2);
  });

  it("refuses --only visual for a text model", async () => {
    expect((await plan({ only: "visual" }, llama)).problems.map(problem => problem.code)).toEqual(["BLD029"]);
  });

  it("lowers a default of 1024 tokens to a short model, and never a number that was typed", async () => {
    const short = await plan({ max_seq_len: 40 });
    expect(short.options.max_input_len).toBe(40);
    expect((await plan({ max_seq_len: 40, max_input_len: 1024 })).problems.map(problem => problem.code)).toEqual([
      "BLD010",
    ]);
  });

  it("tells every plugin word that has no effect", async () => {
    const made = await plan({
      gpt_attention_plugin: "float32",
      use_fused_mlp: true,
      workers: 19,
      max_num_tokens: 1 << 20,
    });
    expect(made.adjustments.map(({ option, to }) => [option, to])).toEqual(
      expect.arrayContaining([
        ["gpt_attention_plugin", "disable"],
        ["use_fused_mlp", false],
        ["workers", 2],
        ["max_num_tokens", expect.any(Number)],
      ]),
    );
  });

  it("has another fingerprint for another option, and only steps it concerns change", async () => {
    const [a, b] = [await plan({ max_batch_size: 1 }), await plan({ max_batch_size: 2 })];
    expect(a.fingerprint).not.toBe(b.fingerprint);
    const changed = a.steps.filter((step, i) => step.fingerprint !== b.steps[i]?.fingerprint).map(step => step.id);
    expect(changed).toEqual(["config and tokenizer"]);
    expect((await plan({ max_batch_size: 1 })).fingerprint).toBe(a.fingerprint);
  });

  it("throws nothing but MmtrtError for any cut or flipped byte of the checkpoint's configs", async () => {
    const copy = join(dir, "damaged");
    await cp(llava, copy, { recursive: true });
    for (const file of ["mmtrt.json", "config.json", "hf_config.json", "visual/config.json"]) {
      const bytes = await readFile(join(llava, file));
      const place = fc.nat({ max: bytes.length - 1 });
      await fc.assert(
        fc.asyncProperty(place, fc.integer({ min: 1, max: 255 }), fc.boolean(), async (at, flip, cut) => {
          const wrong = cut ? bytes.subarray(0, at) : Buffer.from(bytes);
          if (!cut) wrong[at]! ^= flip;
          await writeFile(join(copy, file), wrong);
          await plan({}, copy).catch((error: unknown) => expect(error).toBeInstanceOf(MmtrtError));
        }),
        { numRuns: 30 },
      );
      await writeFile(join(copy, file), bytes);
    }
  });

  it("throws nothing but MmtrtError, and profiles agree, whatever the options", async () => {
    const small = fc.integer({ min: 1, max: 200 });
    const options = fc.record(
      {
        max_batch_size: small,
        max_input_len: small,
        max_seq_len: fc.integer({ min: 2, max: 300 }),
        max_beam_width: fc.integer({ min: 1, max: 9 }),
        max_multimodal_len: fc.oneof(fc.constant("auto" as const), fc.integer({ min: 0, max: 9999 })),
        opt_batch_size: small,
        opt_input_len: small,
        opt_seq_len: small,
        multiple_profiles: fc.boolean(),
        kv_cache_type: fc.constantFrom("continuous" as const, "static" as const, "paged" as const),
        backend: fc.constantFrom("onnxruntime" as const, "tensorrt" as const),
        workers: small,
      },
      { requiredKeys: [] },
    );
    await fc.assert(
      fc.asyncProperty(options, fc.boolean(), async (given, text) => {
        const made = await plan(given, text ? llama : llava).catch((error: unknown) => {
          expect(error).toBeInstanceOf(MmtrtError);
        });
        for (const profile of made?.engines.flatMap(engine => engine.profiles) ?? []) {
          for (const point of ["min", "opt", "max"] as const) {
            const { attention_mask: mask, past_key_0: past, input_ids: ids } = profile.shapes;
            if (mask && past && ids) expect(mask[point][1]).toBe(past[point][2]! + ids[point][1]!);
          }
        }
        if (made && made.problems.length === 0) expect(made.engines.length).toBe(text ? 1 : 2);
      }),
      { numRuns: 60 },
    );
  });
});

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { planBuild } from "../../../src/build/plan-build.ts";
import { NO_QUANTIZATION } from "../../../src/checkpoint/quantization-options.ts";
import { FilePool } from "../../../src/formats/file.ts";
import { openSafetensors, writeSafetensors } from "../../../src/formats/safetensors.ts";
import { withDefaults } from "../../../src/options/define.ts";
import { type BuildOptions, buildOptions } from "../../../src/options/tables/build.ts";
import { fromStored } from "../../../src/tensor/index.ts";
import { FIXTURES } from "../../support/describe-parity.ts";
import { convertTo, Workspace } from "../../support/pipeline.ts";
import { floats } from "../../support/tensors.ts";

const LORA = new URL("../../fixtures/lora/", import.meta.url).pathname;
const work = new Workspace();
afterAll(() => work.clean());

type Given = Partial<BuildOptions>;

async function plan(name: string, given: Given, convert: Parameters<typeof convertTo>[3] = {}) {
  const checkpoint = await convertTo(work, join(FIXTURES, name), "float32", convert);
  const limits = { max_input_len: 16, max_seq_len: 40 };
  const options = withDefaults(buildOptions, {
    checkpoint_dir: checkpoint,
    output_dir: join(checkpoint, "engine"),
    ...limits,
    ...given,
  });
  return planBuild(options, { version: "0.0.0-test", origin: key => `--${key}`, given: key => key in given });
}

const refused = async (...given: Parameters<typeof plan>): Promise<readonly string[]> =>
  (await plan(...given)).problems.map(({ code, what }) => `${code} ${what}`);

const FIRST = join(LORA, "llama_gqa", "first");
const SECOND = join(LORA, "llama_gqa", "second");
const TABLES = join(LORA, "llama_gqa", "tables");

describe("a plan with adapters", () => {
  it("has the inputs that they need and no others, and keeps their hashes", async () => {
    const { problems, engines, configs, steps, options } = await plan("llama_gqa", {
      lora_dir: [SECOND],
      max_lora_rank: 8,
    });
    expect(problems).toEqual([]);
    const names = engines[0]?.io.map(({ name }) => name).filter(name => name.startsWith("lora_")) ?? [];
    const modules = ["attn_q", "attn_v", "mlp_4h_to_h"];
    const wanted = [0, 1, 2].flatMap(layer =>
      modules.flatMap(name => [`lora_A_layers.${layer}.${name}`, `lora_B_layers.${layer}.${name}`]),
    );
    expect(names.sort()).toEqual([...wanted, "lora_task_ids"].sort());
    expect(engines[0]?.graph.functions).toContain("mmtrt::Lora");
    expect(configs.llm?.lora?.adapters).toMatchObject([
      { dir: "lora/0", name: "second", files: [{ name: "adapter_config.json" }, { name: "adapter_model.bin" }] },
    ]);
    expect(configs.llm?.build_config.lora_config).toMatchObject({
      lora_dir: ["lora/0"],
      max_lora_rank: 8,
      max_loras: 4,
      lora_target_modules: modules,
    });
    expect(steps.find(({ id }) => id === "adapter 0")?.outputs).toEqual([
      "lora/0/adapter_config.json",
      "lora/0/adapter_model.bin",
    ]);
    expect(options).toMatchObject({ lora_dir: ["second"], max_loras: 4 });
  });

  it("names sizes of the profiles after the most adapters and the highest rank", async () => {
    const { engines } = await plan("llama_gqa", { lora_plugin: "auto", max_lora_rank: 19, max_loras: 2 });
    for (const { sizes } of engines[0]?.profiles ?? [])
      expect([sizes.adapters, sizes.lora_rank]).toEqual([
        { min: 1, opt: 2, max: 3 },
        { min: 1, opt: 19, max: 19 },
      ]);
  });

  it("counts the memory of as many adapters as may be loaded, at the highest rank", async () => {
    const limits = { max_lora_rank: 19, max_loras: 2, lora_target_modules: ["attn_q", "mlp_4h_to_h"] } as const;
    const { memory } = await plan("llama_gqa", { lora_plugin: "auto", ...limits });
    const item = memory.ranks[0]?.items.find(({ what }) => what === "adapters");
    // 3 layers, two adapters and none, q of 48 → 60 and down of 60 → 48, float32.
    expect(item?.bytes).toBe(3 * 3 * 19 * (48 + 60 + 60 + 48) * 4);
    const [without, more] = [await plan("llama_gqa", {}), memory.ranks[0]?.total ?? 0];
    expect(more - (without.memory.ranks[0]?.total ?? 0)).toBe(item?.bytes);
  });

  it("without adapters has no trace of them", async () => {
    const { engines, configs, steps, options } = await plan("llama_gqa", {});
    expect(JSON.stringify([engines[0]?.io, engines[0]?.graph.functions, engines[0]?.profiles, steps])).not.toMatch(
      /lora/i,
    );
    expect(Object.keys(options).filter(key => /lora/.test(key))).toEqual(["lora_plugin"]);
    expect(configs.llm).not.toHaveProperty("lora");
  });

  it("has other fingerprints for other adapters", async () => {
    const prints = await Promise.all(
      [[FIRST], [FIRST, SECOND]].map(
        async lora_dir => (await plan("llama_gqa", { lora_dir, max_lora_rank: 8 })).fingerprint,
      ),
    );
    expect(new Set(prints).size).toBe(2);
  });
});

const WHOLE = { tpSize: 1, ppSize: 1, parallelEmbedding: false, embeddingShardingDim: 0 as const };

/** A copy of the adapter of `llama_gqa` that brings both tables, with other ones. */
async function withTables(shapes: Readonly<Record<string, readonly number[]>>): Promise<string> {
  const dir = join(await work.dir(), "other");
  await mkdir(dir);
  const config = JSON.parse(await readFile(join(TABLES, "adapter_config.json"), "utf8")) as object;
  const modules_to_save = Object.keys(shapes);
  await writeFile(join(dir, "adapter_config.json"), JSON.stringify({ ...config, modules_to_save }));
  const pool = new FilePool();
  const { tensors } = await openSafetensors(pool, join(TABLES, "adapter_model.safetensors"));
  const halves = [...tensors.values()].filter(({ name }) => name.includes("lora_")).map(fromStored);
  const tables = Object.entries(shapes).map(([name, shape]) =>
    floats(
      `base_model.model.${name === "lm_head" ? "" : "model."}${name}.weight`,
      shape,
      new Array(shape.reduce((product, size) => product * size, 1)).fill(0.5),
    ),
  );
  await writeSafetensors(join(dir, "adapter_model.safetensors"), [...halves, ...tables]);
  await pool.close();
  return dir;
}

describe("a plan with an adapter's word tables", () => {
  it("has them in a file of their own for each rank that needs one, and says whom they serve", async () => {
    const parallel = { tpSize: 2, ppSize: 3, parallelEmbedding: true, embeddingShardingDim: 1 as const };
    const given = { lora_dir: [FIRST, TABLES] };
    const convert = { parallel: { ...parallel, shareEmbedding: false } };
    const { problems, engines, steps, configs, adjustments } = await plan("llama_gqa", given, convert);
    expect(problems).toEqual([]);
    const tables = engines.map(engine => engine.tables?.locations.map(({ name, shape }) => [name, shape]));
    const embedding = [["transformer.vocab_embedding.weight", [131, 24]]];
    const head = [["lm_head.weight", [66, 48]]];
    expect(tables).toEqual([embedding, embedding, undefined, undefined, head, head]);
    expect(steps.filter(({ kind }) => kind === "tables").flatMap(({ outputs }) => outputs)).toEqual(
      [0, 1, 4, 5].map(rank => `llm/rank${rank}.tables.safetensors`),
    );
    expect(configs.llm?.lora?.tables?.map(({ name }) => name)).toEqual(["embed_tokens", "lm_head"]);
    expect(adjustments).toContainEqual(
      expect.objectContaining({ option: "embed_tokens and lm_head", why: expect.stringMatching(/task −1/) }),
    );
  });

  it("takes one alone of a model that ties none", async () => {
    const dir = await withTables({ lm_head: [131, 48] });
    const { problems, engines } = await plan("llama_gqa", { lora_dir: [dir] });
    expect(problems).toEqual([]);
    expect(engines[0]?.tables?.locations.map(({ name }) => name)).toEqual(["lm_head.weight"]);
  });

  it.each<[string, Readonly<Record<string, readonly number[]>>, Parameters<typeof convertTo>[3], RegExp]>([
    [
      "of a larger vocabulary",
      { lm_head: [132, 48] },
      {},
      /^LRA018 .*lm_head.* is .*\[132, 48\]; the model's lm_head is \[131, 48\]/,
    ],
    ["of another width", { embed_tokens: [131, 49] }, {}, /^LRA018 .*embed_tokens is \[131, 48\]/],
    [
      "beside a quantized lm_head",
      { lm_head: [131, 48] },
      { quantization: { ...NO_QUANTIZATION, use_weight_only: true, quantize_lm_head: true } },
      /^LRA018 other brings lm_head, and the checkpoint's is quantized/,
    ],
  ])("is refused for tables %s", async (_, shapes, convert, expected) => {
    const dir = await withTables(shapes);
    expect((await refused("llama_gqa", { lora_dir: [dir] }, convert)).join("\n")).toMatch(expected);
  });

  it.each<[string, string, Readonly<Record<string, readonly number[]>>, Parameters<typeof convertTo>[3], RegExp]>([
    [
      "one of two tied tables",
      "llama_tied_bias",
      { embed_tokens: [89, 48] },
      {},
      /LRA018 other brings embed_tokens alone/,
    ],
    [
      "both, where the checkpoint has one",
      "llama_tied_bias",
      { embed_tokens: [89, 48], lm_head: [89, 48] },
      { parallel: { ...WHOLE, shareEmbedding: true } },
      /LRA018 .* the checkpoint has one table for embed_tokens and lm_head/,
    ],
    [
      "an embedding that is stored as a product",
      "opt_proj",
      { embed_tokens: [89, 20] },
      {},
      /LRA018 other brings embed_tokens, which the checkpoint of a .* does not have as it is/,
    ],
  ])("is refused for %s", async (_, name, shapes, convert, expected) => {
    const dir = await withTables(shapes);
    expect((await refused(name, { lora_dir: [dir] }, convert)).join("\n")).toMatch(expected);
  });

  it("takes both of two tied tables that lie apart in the checkpoint", async () => {
    const dir = await withTables({ embed_tokens: [89, 48], lm_head: [89, 48] });
    expect((await refused("llama_tied_bias", { lora_dir: [dir] })).join("\n")).not.toMatch(/LRA018/);
  });

  it("is refused where two adapters bring some", async () => {
    const dir = await withTables({ lm_head: [131, 48] });
    expect(await refused("llama_gqa", { lora_dir: [TABLES, dir] })).toEqual([
      "LRA018 2 adapters bring word tables of their own: tables (embed_tokens, lm_head), other (lm_head)",
    ]);
  });
});

describe("a build is refused", () => {
  it.each<[string, string, Given, RegExp]>([
    [
      "for a rank above the limit",
      "llama_gqa",
      { lora_dir: [FIRST], max_lora_rank: 7 },
      /^LRA008 the adapter has rank 8; the engine takes up to 7/,
    ],
    [
      "for a module left out of the targets",
      "llama_gqa",
      { lora_dir: [SECOND], lora_target_modules: ["attn_q", "attn_v"] },
      /^LRA009 the adapter changes mlp_4h_to_h/,
    ],
    [
      "for a module that the model has not",
      "gpt2_usual",
      { lora_plugin: "auto", lora_target_modules: ["attn_q"] },
      /^LRA015 lora_target_modules has attn_q; the model has attn_qkv/,
    ],
    [
      "for more adapters than may be loaded",
      "llama_gqa",
      { lora_dir: [FIRST, SECOND], max_loras: 1 },
      /^LRA010 lora_dir has 2 adapters; max_loras is 1/,
    ],
    [
      "for NeMo's adapters",
      "llama_gqa",
      { lora_dir: [FIRST], lora_ckpt_source: "nemo" },
      /^LRA015 lora_ckpt_source is nemo/,
    ],
    [
      "for another dtype than the model's",
      "llama_gqa",
      { lora_plugin: "float16" },
      /^BLD030 lora_plugin float16 is not the model's dtype float32/,
    ],
    [
      "for limits of adapters that it would not have",
      "llama_gqa",
      { max_lora_rank: 8 },
      /^LRA015 max_lora_rank is given without/,
    ],
    ["for an adapter of another model", "opt_pre", { lora_dir: [FIRST] }, /^LRA005 .* no place in the model/],
    ["for a directory that is no adapter", "llama_gqa", { lora_dir: [LORA] }, /^LRA001/],
    ["for an encoder-decoder", "t5_gated", { lora_plugin: "auto" }, /^LRA014 .* is an encoder-decoder/],
  ])("%s", async (_, name, given, expected) => {
    expect((await refused(name, given)).join("\n")).toMatch(expected);
  });
});

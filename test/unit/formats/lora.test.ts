import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { MmtrtError } from "../../../src/diagnostics/index.ts";
import { FilePool } from "../../../src/formats/file.ts";
import type { LoraTable } from "../../../src/formats/lora/fit.ts";
import { loadAdapter } from "../../../src/formats/lora/load.ts";
import { writeSafetensors } from "../../../src/formats/safetensors.ts";
import type { LoraModule } from "../../../src/tensor/index.ts";
import { floats } from "../../support/tensors.ts";

const module = (name: LoraModule["name"], hf: string, input: number, out: number): LoraModule => ({
  name,
  product: "attention.qkv",
  hf: `model.layers.{l}.self_attn.${hf}`,
  in: input,
  out,
  conv1d: false,
  split: "column",
  parts: [{ rows: out, units: 1 }],
});
/** Two layers of q and v, 5 wide. */
const TABLE: LoraTable = { modules: [module("attn_q", "q_proj", 5, 7), module("attn_v", "v_proj", 5, 3)], layers: 2 };
const SIZES = { q_proj: 7, v_proj: 3 };

let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "mmtrt-lora-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

type Config = Readonly<Record<string, unknown>>;
type Shapes = Readonly<Record<string, readonly number[]>>;

/** Both halves of q and v in both layers, rank 2, as PEFT names them. */
function usual(prefix = "base_model.model.model."): Record<string, readonly number[]> {
  const entries = [0, 1].flatMap(layer =>
    Object.entries(SIZES).flatMap(([name, out]) => [
      [`${prefix}layers.${layer}.self_attn.${name}.lora_A.weight`, [2, 5]] as const,
      [`${prefix}layers.${layer}.self_attn.${name}.lora_B.weight`, [out, 2]] as const,
    ]),
  );
  return Object.fromEntries(entries);
}

async function load(
  config: Config = {},
  shapes: Shapes = usual(),
  limits = { maxRank: 8 } as { maxRank: number; targets?: string[] },
) {
  const adapter = join(dir, "adapter");
  await mkdir(adapter, { recursive: true });
  const whole = { peft_type: "LORA", r: 2, lora_alpha: 4, target_modules: ["q_proj", "v_proj"], ...config };
  await writeFile(join(adapter, "adapter_config.json"), JSON.stringify(whole));
  const tensors = Object.entries(shapes).map(([name, shape]) => {
    const count = shape.reduce((product, size) => product * size, 1);
    return floats(name, shape, new Array(count).fill(0.5));
  });
  await writeSafetensors(join(adapter, "adapter_model.safetensors"), tensors);
  const pool = new FilePool();
  try {
    return await loadAdapter(pool, adapter, TABLE, limits);
  } finally {
    await pool.close();
  }
}

/** `LRA005 …` of everything that is wrong. */
async function refused(...given: Parameters<typeof load>): Promise<readonly string[]> {
  try {
    const { problems } = await load(...given);
    return problems.map(({ code, what }) => `${code} ${what}`);
  } catch (error) {
    if (!(error instanceof MmtrtError)) throw error;
    return error.problems.map(({ code, what }) => `${code} ${what}`);
  }
}

const without = (shapes: Shapes, part: string): Shapes =>
  Object.fromEntries(Object.entries(shapes).filter(([name]) => !name.includes(part)));

describe("an adapter", () => {
  it.each([
    "base_model.model.model.",
    "base_model.model.model.language_model.",
    "base_model.model.model.text_model.",
    "base_model.model.language_model.model.",
    "",
  ])("is read under the prefix %j", async prefix => {
    const { adapter, problems } = await load({}, usual(prefix));
    expect(problems).toEqual([]);
    expect(adapter.pairs.map(({ module: { name }, layer, rank, scaling }) => [name, layer, rank, scaling])).toEqual([
      ["attn_q", 0, 2, 2],
      ["attn_v", 0, 2, 2],
      ["attn_q", 1, 2, 2],
      ["attn_v", 1, 2, 2],
    ]);
  });

  it("has the scaling of its own rank and alpha, with rslora by the root of the rank", async () => {
    const q = "base_model.model.model.layers.1.self_attn.q_proj.lora_";
    const shapes = { ...usual(), [`${q}A.weight`]: [4, 5], [`${q}B.weight`]: [7, 4] };
    const patterns = {
      rank_pattern: { "layers.1.self_attn.q_proj": 4 },
      alpha_pattern: { "layers.1.self_attn.q_proj": 12 },
    };
    const plain = await load(patterns, shapes);
    expect(plain.problems).toEqual([]);
    expect(plain.adapter.rank).toBe(4);
    expect(plain.adapter.pairs.map(({ scaling }) => scaling)).toEqual([2, 2, 3, 2]);
    const rooted = await load({ ...patterns, use_rslora: true }, shapes);
    expect(rooted.adapter.pairs.map(({ scaling }) => scaling)).toEqual([
      4 / Math.SQRT2,
      4 / Math.SQRT2,
      6,
      4 / Math.SQRT2,
    ]);
  });

  it.each([
    ["a pattern", { target_modules: ".*self_attn\\.(q|v)_proj" }],
    ["a named group of Python's", { target_modules: ".*layers\\.(?P<layer>\\d+)\\.self_attn\\.(q|v)_proj" }],
    ["all-linear", { target_modules: "all-linear" }],
    ["switches that are off", { use_dora: false, layer_replication: null, loftq_config: {}, of_a_newer_peft: null }],
  ])("may target its modules by %s", async (_, config) => {
    expect(await refused(config)).toEqual([]);
  });

  it("of some layers lacks nothing in the others", async () => {
    expect(await refused({ layers_to_transform: [1] }, without(usual(), "layers.0"))).toEqual([]);
    expect(await refused({ layers_to_transform: 1, layers_pattern: "layers" }, without(usual(), "layers.0"))).toEqual(
      [],
    );
  });
});

describe("word tables of an adapter", () => {
  it.each([
    ["lm_head.weight", "lm_head"],
    ["language_model.lm_head.weight", "lm_head"],
    ["model.embed_tokens.weight", "embed_tokens"],
    ["model.language_model.embed_tokens.weight", "embed_tokens"],
    ["model.decoder.embed_tokens.weight", "embed_tokens"],
    ["transformer.wte.weight", "embed_tokens"],
  ])("are known by the name %s", async (name, table) => {
    const { adapter, problems } = await load({}, { ...usual(), [`base_model.model.${name}`]: [9, 5] });
    expect(problems).toEqual([]);
    expect([...adapter.tables.keys()]).toEqual([table]);
  });
});

describe("an adapter is refused", () => {
  it.each<[string, Config, Shapes | undefined, RegExp]>([
    ["with DoRA", { use_dora: true }, undefined, /^LRA003 use_dora is true/],
    ["of another method", { peft_type: "IA3" }, undefined, /^LRA003 peft_type is "IA3"/],
    ["with biases of its matrices", { lora_bias: true }, undefined, /^LRA003 lora_bias/],
    [
      "of changed base weights",
      { init_lora_weights: "pissa_niter_16" },
      undefined,
      /^LRA004 init_lora_weights is "pissa_niter_16"/,
    ],
    ["of an orthonormal start", { init_lora_weights: "olora" }, undefined, /^LRA004/],
    [
      "with an unknown switch that is on",
      { use_magic: true },
      undefined,
      /^LRA002 use_magic is true, and is not known/,
    ],
    ["of rank zero", { r: 0 }, undefined, /^LRA002 r is 0; expected a whole number from 1/],
    ["with a rank pattern of words", { rank_pattern: { q_proj: "two" } }, undefined, /^LRA002 rank_pattern/],
    [
      "with a pattern that is none",
      { target_modules: "(q_proj" },
      undefined,
      /^LRA002 target_modules: "\(q_proj" is no pattern/,
    ],
    [
      "with half of a pair",
      {},
      without(usual(), "1.self_attn.v_proj.lora_B"),
      /^LRA006 model\.layers\.1\.self_attn\.v_proj has no lora_B/,
    ],
    [
      "with a targeted module missing",
      {},
      without(usual(), "1.self_attn.v_proj"),
      /^LRA006 1 module that the config targets has no tensors: model\.layers\.1\.self_attn\.v_proj/,
    ],
    [
      "with a module that its config does not target",
      { target_modules: ["q_proj"] },
      undefined,
      /^LRA005 model\.layers\.0\.self_attn\.v_proj has tensors, and .* does not target it/,
    ],
    [
      "with another width",
      {},
      { ...usual(), "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": [2, 6] },
      /^LRA007 .* is \[2, 6\]; expected \[2, 5\]/,
    ],
    ["with another rank than its config's", { r: 3 }, undefined, /^LRA007 .* is \[2, 5\]; expected \[3, 5\]/],
    [
      "with a layer that the model has not",
      {},
      { ...usual(), "base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight": [2, 5] },
      /^LRA005 1 adapted module has no place in the model: model\.layers\.2/,
    ],
    [
      "with modules of the vision part",
      {},
      { ...usual(), "base_model.model.model.vision_tower.encoder.layers.0.self_attn.q_proj.lora_A.weight": [2, 5] },
      /^LRA005 1 adapted module has no place in the model: model\.vision_tower/,
    ],
    [
      "with an adapted embedding",
      {},
      { ...usual(), "base_model.model.model.embed_tokens.lora_embedding_A": [2, 9] },
      /^LRA003 .*lora_embedding_A/,
    ],
    [
      "with a strange tensor",
      {},
      { ...usual(), "base_model.model.model.layers.0.gamma": [5] },
      /^LRA005 .*gamma is neither half/,
    ],
    [
      "with a module of its own that is no word table",
      { modules_to_save: ["score"] },
      { ...usual(), "base_model.model.score.weight": [2, 5] },
      /^LRA013 the adapter brings whole tensors of the base model: score\.weight/,
    ],
    [
      "with one word table under two names",
      {},
      {
        ...usual(),
        "base_model.model.lm_head.weight": [9, 5],
        "base_model.model.language_model.lm_head.weight": [9, 5],
      },
      /^LRA013 .*: language_model\.lm_head\.weight/,
    ],
    [
      "without a table that its config says was trained",
      { modules_to_save: ["lm_head", "embed_tokens"] },
      { ...usual(), "base_model.model.lm_head.weight": [9, 5] },
      /^LRA006 adapter_model\.safetensors has no tensor of embed_tokens/,
    ],
    [
      "with trained biases",
      { bias: "all" },
      { ...usual(), "base_model.model.model.layers.0.self_attn.q_proj.bias": [7] },
      /^LRA013/,
    ],
    [
      "with one layer under two names",
      {},
      { ...usual(), ...usual("base_model.model.language_model.") },
      /^LRA005 .* are both the same layer/,
    ],
  ])("%s", async (_, config, shapes, expected) => {
    const problems = await refused(config, shapes ?? usual());
    expect(
      problems.some(problem => expected.test(problem)),
      problems.join("\n"),
    ).toBe(true);
  });

  it("with a rank or modules that the engine has no room for, with the numbers", async () => {
    expect(await refused({}, usual(), { maxRank: 1 })).toEqual([
      "LRA008 the adapter has rank 2; the engine takes up to 1",
    ]);
    expect(await refused({}, usual(), { maxRank: 8, targets: ["attn_q"] })).toEqual([
      "LRA009 the adapter changes attn_v; the engine has inputs for attn_q",
    ]);
  });

  it("without its files", async () => {
    const pool = new FilePool();
    await writeFile(join(dir, "adapter_config.json"), "{}");
    await expect(loadAdapter(pool, dir, TABLE, { maxRank: 1 })).rejects.toThrow(
      /LRA001.*adapter_model.safetensors or adapter_model.bin is missing/s,
    );
    await expect(loadAdapter(pool, join(dir, "nowhere"), TABLE, { maxRank: 1 })).rejects.toThrow(/CKP001/);
    await pool.close();
  });

  it("in bounded time when a pattern of its config backtracks without end", async () => {
    const problems = await refused({ target_modules: "((([a-z.0-9_]+)+)+)+!" });
    expect(problems.join()).toMatch(/LRA002 target_modules: takes more than 2 s to match/);
  }, 20_000);
});

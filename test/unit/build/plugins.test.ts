import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { BuildPlan } from "../../../src/build/plan.ts";
import { ABI_MARK, OPS_MARK, readPluginLibrary } from "../../../src/formats/plugin-library.ts";
import type { BuildOptions } from "../../../src/options/tables/build.ts";
import { planFor } from "../../support/checkpoints.ts";
import { convertTo, Workspace } from "../../support/pipeline.ts";
import { wideHeads } from "../../support/wide-heads.ts";

const work = new Workspace();
let dir: string;
let model: string;
let half: string;
let single: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "mmtrt-plugin-plans-"));
  model = await wideHeads(work, {}, { hidden_size: 48 });
  [half, single] = [await convertTo(work, model, "float16"), await convertTo(work, model, "float32")];
});
afterAll(async () => {
  await work.clean();
  await rm(dir, { recursive: true, force: true });
});

const TP3 = { tpSize: 3, ppSize: 1, parallelEmbedding: false, embeddingShardingDim: 0, shareEmbedding: false } as const;
const ABI = "4f9c".repeat(16);
const ALL = "GptAttention/1;RmsNorm/1;PromptTuningEmbedding/1;WeightOnlyMatmul/1;";

/** What is told from a library's bytes: marks and entry points among others. */
async function library(name: string, ops = ALL, entries = "getCreators\0", rest = ""): Promise<string> {
  const file = join(dir, name);
  await writeFile(file, `\x7fELF${"\0".repeat(989)}${OPS_MARK}${ops}.\0${ABI_MARK}${ABI}\0${entries}${rest}`);
  return file;
}

const plan = (given: Partial<BuildOptions>, checkpoint = half): Promise<BuildPlan> =>
  planFor(checkpoint, join(dir, "engine"), { backend: "tensorrt_rtx", max_seq_len: 64, max_input_len: 40, ...given });
const said = ({ adjustments }: BuildPlan) =>
  adjustments.flatMap(({ option, to, why }) => (/plugin$|^use_fused/.test(option) ? [[option, to, why]] : []));
const nodesOf = ({ engines }: BuildPlan) => engines.map(({ graph }) => graph.plugins);
const ops = { GptAttention: 2, PromptTuningEmbedding: 1, RmsNorm: 5 };

describe("a library's bytes", () => {
  it("tell its operations, who can call it and its hash, wherever the reader's chunks end", async () => {
    for (const padding of [0, (1 << 20) - 1010, 1 << 20]) {
      const file = join(dir, "padded.so");
      const text = `${"x".repeat(padding)}${OPS_MARK}${ALL}.\0${ABI_MARK}${ABI}\0getCreators\0RegisterCustomOps\0`;
      await writeFile(file, text);
      expect(await readPluginLibrary(file)).toMatchObject({
        abi: ABI,
        ops: ["GptAttention/1", "RmsNorm/1", "PromptTuningEmbedding/1", "WeightOnlyMatmul/1"],
        adapters: ["tensorrt", "onnxruntime"],
        sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
      });
    }
  });

  it("of another maker have none of these", async () => {
    const file = join(dir, "other.so");
    await writeFile(file, `${OPS_MARK}no list${ABI_MARK}no hash getCreators`);
    expect(await readPluginLibrary(file)).toMatchObject({ abi: null, ops: [], adapters: [] });
  });
});

describe("the plan of a build", () => {
  it("has nodes for what the library brings to TensorRT, and none without one", async () => {
    expect(nodesOf(await plan({}))).toEqual([{}, {}]);
    expect(nodesOf(await plan({ plugins: [await library("all.so")] }))).toEqual([ops, {}]);
    const some = await library("some.so", "RmsNorm/1;GptAttention/2;");
    expect(nodesOf(await plan({ plugins: [some] }))).toEqual([{ RmsNorm: 5 }, {}]);
    const kernels = await library("kernels.so", ALL, "");
    expect(nodesOf(await plan({ plugins: [kernels] }))).toEqual([{}, {}]);
  });

  it("has nodes for ONNX Runtime where the library has its custom ops, and none where it has TensorRT's plugins alone", async () => {
    const custom = await library("custom.so", ALL, "RegisterCustomOps\0");
    const backend = "onnxruntime";
    const made = await plan({ backend, plugins: [custom] });
    expect(nodesOf(made)).toEqual([ops, {}]);
    expect(made.engines.map(({ request }) => request)).toEqual([null, null]);
    expect(nodesOf(await plan({ backend, plugins: [await library("all.so")] }))).toEqual([{}, {}]);
    expect(nodesOf(await plan({ plugins: [custom] }))).toEqual([{}, {}]);
  });

  it("without a library is to the byte the one of a build that disables every plugin", async () => {
    const off = {
      gpt_attention_plugin: "disable",
      weight_only_quant_matmul_plugin: "disable",
      rmsnorm_plugin: "disable",
      lookup_plugin: "disable",
    } as const;
    const hashes = async (given: Partial<BuildOptions>) =>
      (await plan(given)).engines.map(({ graph }) => graph.onnx_sha256);
    expect(await hashes({})).toEqual(await hashes({ ...off, plugins: [await library("all.so")] }));
  });

  it("follows each option's word: none when disabled, nodes with bodies when a dtype is named, none in float32", async () => {
    const plugins = [await library("all.so")];
    expect(nodesOf(await plan({ plugins, gpt_attention_plugin: "disable", rmsnorm_plugin: "disable" }))[0]).toEqual({
      PromptTuningEmbedding: 1,
    });
    const named = await plan({ gpt_attention_plugin: "float16", backend: "onnxruntime" });
    expect(nodesOf(named)[0]).toEqual({ GptAttention: 2 });
    expect(named.adjustments).toContainEqual(
      expect.objectContaining({ option: "gpt_attention_plugin", why: expect.stringContaining("bodies") }),
    );
    expect(nodesOf(await plan({ plugins }, single))).toEqual([{}, {}]);
  });

  it("has no attention nodes for heads or blocks without a kernel, and says so where they were wanted", async () => {
    const plugins = [await library("all.so")];
    const small = await plan({ plugins, kv_cache_type: "paged", tokens_per_block: 8 });
    expect(nodesOf(small)[0]).toEqual({ PromptTuningEmbedding: 1, RmsNorm: 5 });
    const said = ({ adjustments }: BuildPlan) => adjustments.filter(({ option }) => option === "gpt_attention_plugin");
    expect(said(small)[0]?.why).toContain("not for 64 in blocks of 8");
    expect(said(await plan({ kv_cache_type: "paged", tokens_per_block: 16 }))[0]?.why).toContain("copy the whole pool");
    expect(said(await plan({ kv_cache_type: "paged", backend: "onnxruntime" }))).toEqual([]);
  });

  it("gives a library to the engines that call it, whose steps alone follow its content", async () => {
    const steps = async (rest: string) => {
      const { steps: all } = await plan({ plugins: [await library("content.so", ALL, "getCreators\0", rest)] });
      return new Map(all.map(({ id, fingerprint }) => [id, fingerprint]));
    };
    const [a, b] = [await steps("one"), await steps("two")];
    expect([...a.keys()].filter(id => a.get(id) !== b.get(id))).toEqual(["engine llm/rank0"]);
    expect(await steps("one")).toEqual(a);
    const { engines } = await plan({ plugins: [await library("content.so")] });
    expect(engines.map(({ request }) => request?.plugins?.length ?? 0)).toEqual([1, 0]);
    const strange = join(dir, "strange.so");
    await writeFile(strange, "getCreators\0");
    const both = await plan({ plugins: [strange] });
    expect(both.engines.map(({ request }) => request?.plugins?.length)).toEqual([1, 1]);
  });

  it("lets ranks be built with a TensorRT without collectives where a library adds for them, and says so where none does", async () => {
    const ranks = await convertTo(work, model, "float16", { parallel: TP3 });
    const old = { backend: "tensorrt", tensorrt_version: "10.2.0" } as const;
    const alone = await plan(old, ranks);
    expect(alone.problems.map(({ code, fix }) => [code, /--plugins LIBRARY/.test(fix)])).toEqual([["BLD054", true]]);
    const made = await plan({ ...old, plugins: [await library("reduce.so", "AllReduce/1;")] }, ranks);
    expect(made.problems).toEqual([]);
    // Two a layer, and the logits' parts.
    expect(nodesOf(made)).toEqual([...Array.from({ length: 3 }, () => ({ AllReduce: 5 })), {}]);
    for (const { graph } of made.engines.slice(0, 3))
      expect(graph.functions).not.toContain("mmtrt.all_gather::DistCollective");
    expect(made.configs.llm?.build_config.plugin_config).toMatchObject({ nccl_plugin: "float16" });
    const newer = { backend: "tensorrt_rtx", plugins: [await library("reduce.so", "AllReduce/1;")] } as const;
    expect(nodesOf(await plan({ ...newer, nccl_plugin: "disable" }, ranks))).toEqual([{}, {}, {}, {}]);
    expect(said(await plan({ nccl_plugin: "float16" }, ranks))).toEqual([
      ["nccl_plugin", "disable", expect.stringContaining("no library of --plugins has AllReduce")],
    ]);
  });

  it("has products, adapters and encoders as nodes by the words of their options", async () => {
    const all = await library(
      "new.so",
      "Gemm/1;Fp8Matmul/1;FusedGatedMlp/1;Lora/1;BertAttention/1;SmoothQuantMatmul/1;",
    );
    const nodes = async (given: Partial<BuildOptions>, checkpoint = half) =>
      nodesOf(await plan({ plugins: [all], ...given }, checkpoint));
    expect(await nodes({})).toEqual([{}, {}]);
    expect(await nodes({ gemm_plugin: "auto" })).toEqual([{ Gemm: 11 }, {}]);
    expect(await nodes({ use_fused_mlp: true, bert_attention_plugin: "auto" })).toEqual([
      { FusedGatedMlp: 2 },
      { BertAttention: 3 },
    ]);
    expect(await nodes({ lora_plugin: "auto", lora_target_modules: ["attn_dense"] })).toEqual([{ Lora: 2 }, {}]);
    // An adapted product is not part of a fused one.
    expect(
      await nodes({ lora_plugin: "auto", lora_target_modules: ["mlp_gate"], use_fused_mlp: true, gemm_plugin: "auto" }),
    ).toEqual([{ Lora: 2, Gemm: 9 }, {}]);
    const odd = await plan({
      plugins: [all],
      lora_plugin: "auto",
      lora_target_modules: ["mlp_gate"],
      max_lora_rank: 19,
    });
    expect([nodesOf(odd), said(odd)]).toEqual([
      [{}, {}],
      [["lora_plugin", "disable", expect.stringContaining("max_lora_rank 19")]],
    ]);
    expect(said(await plan({ gemm_plugin: "float16", use_fused_mlp: true }))).toEqual([
      ["gemm_plugin", "disable", expect.stringContaining("TensorRT's own kernels")],
      ["use_fused_mlp", false, expect.stringContaining("TensorRT joins the two products")],
    ]);
  });

  it("updates a static or paged cache in place, and has sizes for a pool of blocks", async () => {
    const plugins = [await library("all.so")];
    const aliased = async (given: Partial<BuildOptions>) => (await plan(given)).engines[0]?.request?.aliasedPluginIo;
    expect(await aliased({ plugins })).toBeUndefined();
    expect(await aliased({ plugins, kv_cache_type: "static" })).toBe(true);
    expect(await aliased({ kv_cache_type: "static" })).toBeUndefined();
    const paged = { kv_cache_type: "paged", tokens_per_block: 16, max_batch_size: 3, max_beam_width: 2 } as const;
    const made = await plan({ ...paged, plugins });
    expect(made.problems).toEqual([]);
    // 64 tokens are 4 blocks, of 6 rows, and one more that is nobody's.
    for (const { sizes, shapes } of made.engines[0]?.profiles ?? []) {
      expect(sizes).toMatchObject({ blocks: { min: 2, opt: 25, max: 25 }, blocks_per_sequence: { min: 1, max: 4 } });
      expect(shapes.cache_key_0?.max).toEqual([25, 1, 16, 64]);
    }
    expect(made.configs.llm?.build_config.plugin_config).toMatchObject({
      gpt_attention_plugin: "float16",
      paged_kv_cache: true,
    });
  });
});

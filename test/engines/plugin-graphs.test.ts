import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { NO_QUANTIZATION, type QuantizationOptions } from "../../src/checkpoint/quantization-options.ts";
import { buildPlugins } from "../../src/cli/plugins/build.ts";
import { tensorrtHeaders } from "../../src/cli/plugins/headers.ts";
import { pluginSources } from "../../src/cli/plugins/manifest.ts";
import { openEngine } from "../../src/formats/engine-dir.ts";
import { readOnnx } from "../../src/formats/onnx/read.ts";
import type { BuildOptions } from "../../src/options/tables/build.ts";
import { which } from "../../src/toolchain/probe.ts";
import { toldOf } from "../support/engine-files.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { describeTensorRT } from "../support/tensorrt.ts";
import { constantRanges, WIDE, wideHeads } from "../support/wide-heads.ts";

const HEADERS = process.env.MMTRT_TEST_TENSORRT_ROOT;
/** A library that is built already, of these sources and with TensorRT's headers: compiling one takes minutes. */
const LIBRARY = process.env.MMTRT_TEST_PLUGIN_LIBRARY;
const NO_LIBRARY = "needs nvcc and MMTRT_TEST_TENSORRT_ROOT with TensorRT's headers, or MMTRT_TEST_PLUGIN_LIBRARY";

const LIMITS = { max_batch_size: 3, max_input_len: 40, max_seq_len: 80 };
const NODES = {
  gpt_attention_plugin: "float16",
  weight_only_quant_matmul_plugin: "float16",
  rmsnorm_plugin: "float16",
  lookup_plugin: "float16",
} as const;
const CACHES = [
  { kv_cache_type: "continuous" },
  { kv_cache_type: "static" },
  { kv_cache_type: "paged", tokens_per_block: 16 },
] as const;
const INT8 = { ...NO_QUANTIZATION, use_weight_only: true };
const INT4 = { ...INT8, weight_only_precision: "int4", group_size: 32 } as const;

const work = new Workspace();
const folder = realpathSync(mkdtempSync(join(tmpdir(), "mmtrt-plugin-graphs-")));
afterAll(async () => {
  await work.clean();
  rmSync(folder, { recursive: true, force: true });
});

/** The library with kernels for the one SM that the engines here are for. */
async function libraryOf(): Promise<string | undefined> {
  if (LIBRARY !== undefined) return LIBRARY;
  if (HEADERS === undefined || (await which("nvcc", process.env.PATH ?? "")) === undefined) return undefined;
  const { library } = await buildPlugins({
    sources: pluginSources(),
    outputDir: folder,
    sms: [86],
    tensorrt: await tensorrtHeaders(HEADERS, "MMTRT_TEST_TENSORRT_ROOT"),
    onnxruntime: undefined,
    workers: availableParallelism(),
    env: process.env,
    signal: new AbortController().signal,
  });
  return library;
}

describeTensorRT("a decoder with nodes that plugins take", python => {
  let model: string;
  let library: string | undefined;
  beforeAll(async () => {
    model = await wideHeads(work);
    library = await libraryOf();
  }, 900_000);

  /** Layers of the parsed network and of the engine by TensorRT's names, and what the manifest says of the target. */
  const build = async (options: Partial<BuildOptions>, quantization: QuantizationOptions = NO_QUANTIZATION) => {
    const checkpoint = await convertTo(work, model, "float16", { quantization });
    const tensorrt = { backend: "tensorrt_rtx", python, compute_capabilities: [86], only: "llm" } as const;
    const dir = await buildTo(work, checkpoint, { ...LIMITS, ...tensorrt, ...options }, { env: { PATH: "/nowhere" } });
    const { llmParts, manifest } = await openEngine(dir);
    const built = llmParts[0]?.built;
    const { graph } = await readOnnx(llmParts[0]?.onnx ?? "");
    const planned: Record<string, number> = {};
    for (const { opType, domain } of graph.node) if (domain === "mmtrt") planned[opType] = (planned[opType] ?? 0) + 1;
    return { layers: built?.layers ?? {}, engineLayers: built?.engine_layers ?? {}, manifest, planned };
  };

  describe("without the library", () => {
    it.each(CACHES)("is built from their bodies over a $kv_cache_type cache", { timeout: 120_000 }, async cache => {
      const { layers, manifest } = await build({ ...cache, ...NODES });
      expect(layers).not.toHaveProperty("PLUGIN_V3");
      expect(manifest.target?.plugin_abi).toBeNull();
    });

    it.each([INT8, INT4])(
      "keeps products with $weight_only_precision codes as standard operators, whose body it takes once",
      {
        timeout: 120_000,
      },
      async format => {
        const { layers } = await build(NODES, format);
        expect(layers.DEQUANTIZE).toBe(5 * WIDE.layers);
      },
    );
  });

  describe("with the library", () => {
    // Two norms a layer and the last one, the look-up, attention in each layer.
    const nodes = 2 * WIDE.layers + 1 + 1 + WIDE.layers;

    it.for(CACHES)(
      "has them as plugins over a $kv_cache_type cache, the cache's outputs included",
      {
        timeout: 120_000,
      },
      async (cache, context) => {
        if (library === undefined) return context.skip(NO_LIBRARY);
        const { layers, engineLayers, manifest } = await build({ ...cache, plugins: [library] });
        expect(layers.PLUGIN_V3).toBe(nodes);
        // For each of the two profiles; those that write in place are layers of another kind.
        const { custom_layer = 0, PluginV3 = 0 } = engineLayers as Readonly<Record<string, number>>;
        expect(custom_layer + PluginV3).toBe(2 * nodes);
        expect(PluginV3).toBe(cache.kv_cache_type === "continuous" ? 0 : 2 * WIDE.layers);
        expect(manifest.target?.plugin_abi).toMatch(/^[0-9a-f]{64}$/);
      },
    );

    it.for([INT8, INT4])(
      "multiplies by $weight_only_precision codes in plugins too",
      { timeout: 120_000 },
      async (format, context) => {
        if (library === undefined) return context.skip(NO_LIBRARY);
        const { layers } = await build({ plugins: [library] }, format);
        expect(layers.PLUGIN_V3).toBe(nodes + 5 * WIDE.layers);
        expect(layers).not.toHaveProperty("DEQUANTIZE");
      },
    );

    const SMOOTH = { ...NO_QUANTIZATION, smoothquant: 0.5, per_channel: true };
    it.for([
      { what: "SmoothQuant's INT8", format: SMOOTH, op: "SmoothQuantMatmul", sms: [86] },
      {
        what: "SmoothQuant's INT8 by token",
        format: { ...SMOOTH, per_token: true },
        op: "SmoothQuantMatmul",
        sms: [86],
      },
      { what: "FP8", format: { ...NO_QUANTIZATION, qformat: "fp8" }, op: "Fp8Matmul", sms: [89] },
    ] as const)("multiplies $what codes in plugins", { timeout: 120_000 }, async ({ format, op, sms }, context) => {
      if (library === undefined) return context.skip(NO_LIBRARY);
      const quantization = { ...format, act_ranges: await constantRanges(work) };
      const options = { plugins: [library], gemm_plugin: "auto", compute_capabilities: [...sms] } as const;
      const { layers, planned } = await build(options, quantization);
      // lm_head is plain.
      expect(planned).toMatchObject({ [op]: 5 * WIDE.layers, Gemm: 1 });
      expect(layers.PLUGIN_V3).toBe(nodes + 5 * WIDE.layers + 1);
      expect(layers).not.toHaveProperty("DEQUANTIZE");
    });

    it("has products, both halves of the MLP and adapters as plugins", { timeout: 120_000 }, async context => {
      if (library === undefined) return context.skip(NO_LIBRARY);
      const options = { plugins: [library], gemm_plugin: "auto", use_fused_mlp: true, lora_plugin: "auto" } as const;
      const { layers, planned } = await build({ ...options, lora_target_modules: ["attn_q", "attn_dense"] });
      // Both adapted products are the standard form; a third of each layer, and lm_head, is Gemm.
      const others = { Gemm: WIDE.layers + 1, FusedGatedMlp: WIDE.layers, Lora: 2 * WIDE.layers };
      expect(planned).toMatchObject(others);
      expect(layers.PLUGIN_V3).toBe(nodes + Object.values(others).reduce((a, b) => a + b, 0));
    });

    it("attends to images in plugins", { timeout: 120_000 }, async context => {
      if (library === undefined) return context.skip(NO_LIBRARY);
      const checkpoint = await convertTo(work, await wideHeads(work, {}, { hidden_size: 48 }), "float16");
      const tensorrt = { backend: "tensorrt_rtx", python, compute_capabilities: [86], only: "visual" } as const;
      const options = { ...LIMITS, ...tensorrt, plugins: [library], bert_attention_plugin: "auto" } as const;
      const dir = await buildTo(work, checkpoint, options, { env: { PATH: "/nowhere" } });
      expect(toldOf(dir, "visual").layers.PLUGIN_V3).toBe(3);
    });

    it("adds over ranks in plugins, with no collective of TensorRT's", { timeout: 240_000 }, async context => {
      if (library === undefined) return context.skip(NO_LIBRARY);
      const parallel = {
        tpSize: 3,
        ppSize: 1,
        parallelEmbedding: true,
        embeddingShardingDim: 1,
        shareEmbedding: false,
      } as const;
      const checkpoint = await convertTo(work, model, "float16", { parallel });
      const tensorrt = { backend: "tensorrt_rtx", python, compute_capabilities: [86], only: "llm" } as const;
      const options = { ...LIMITS, ...tensorrt, plugins: [library] } as const;
      const { llmParts } = await openEngine(await buildTo(work, checkpoint, options, { env: { PATH: "/nowhere" } }));
      expect(llmParts.length).toBe(3);
      for (const { built } of llmParts) {
        expect(built?.layers).not.toHaveProperty("DIST_COLLECTIVE");
        // Two sums a layer, the embedding's and the logits' parts; no look-up of a table that is split.
        expect(built?.layers?.PLUGIN_V3).toBe(nodes - 1 + 2 * WIDE.layers + 2);
      }
    });

    it("has none of those that are disabled", { timeout: 120_000 }, async context => {
      if (library === undefined) return context.skip(NO_LIBRARY);
      const { layers } = await build({
        plugins: [library],
        gpt_attention_plugin: "disable",
        rmsnorm_plugin: "disable",
      });
      expect(layers.PLUGIN_V3).toBe(1);
    });
  });
});

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { expectedEncoderTensors, expectedTensors, mapWeights } from "../../src/checkpoint/map.ts";
import { canonicalNames } from "../../src/checkpoint/names.ts";
import { openHf } from "../../src/checkpoint/open.ts";
import type { Parallel } from "../../src/checkpoint/shard.ts";
import { DECOMPOSED, MODERN, MODERN_STATIC_CACHE } from "../../src/graph/dialect.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { verifyGraph } from "../../src/graph/verify.ts";
import type { GraphOptions } from "../../src/models/architecture.ts";
import { readModel } from "../../src/models/registry.ts";
import { recipeBytes, type TensorRecipe } from "../../src/tensor/index.ts";
import { FIXTURES } from "../support/describe-parity.ts";

const CASES = readdirSync(FIXTURES).filter(name => /^(t5|bart|mbart|nougat|blip2t5)_/.test(name));
const SINGLE: Parallel = {
  tpSize: 1,
  ppSize: 1,
  parallelEmbedding: false,
  embeddingShardingDim: 0,
  shareEmbedding: false,
};
const OPTIONS: GraphOptions = {
  weightDtype: "float32",
  computeDtype: "float32",
  tpSize: 1,
  ppSize: 1,
  rank: 0,
  kvCache: { type: "continuous" },
  dialect: MODERN,
  promptTable: false,
};

describe.each(CASES)("%s", name => {
  const opened = openHf(join(FIXTURES, name));
  afterAll(async () => (await opened).close());
  const load = async () => {
    const source = await opened;
    const { architecture, spec } = readModel(source.config);
    return { source, architecture, spec, weights: architecture.weights(spec) };
  };

  it("gives every graph its tensors in every dialect and with both caches, and every graph is sound", async () => {
    const { source, architecture, spec, weights } = await load();
    const mapped = mapWeights(source.tensors, spec, weights, SINGLE, "float32");
    const variants: Partial<GraphOptions>[] = [
      {},
      { dialect: DECOMPOSED },
      { dialect: MODERN_STATIC_CACHE, kvCache: { type: "static", capacity: 19 } },
      { promptTable: true },
    ];
    for (const variant of variants) {
      const options = { ...OPTIONS, ...variant };
      const graphs: [Graph | undefined, readonly TensorRecipe[]][] = [
        [architecture.languageGraph(spec, options), mapped.ranks[0] ?? []],
        [architecture.crossGraph?.(spec, options), mapped.ranks[0] ?? []],
        [spec.encoderDecoder?.encoder && architecture.encoderGraph?.(spec, options), mapped.encoderRanks[0] ?? []],
        [architecture.visualGraph?.(spec, options), mapped.visual],
      ];
      for (const [graph, recipes] of graphs) {
        if (graph === undefined) continue;
        expect(verifyGraph(graph)).toEqual([]);
        expect(shapesOf(recipes)).toMatchObject(weightsOf(graph));
      }
    }
  });

  it("gives each of 2 pipeline stages its tables, norms and lm_head, layers numbered from 0", async () => {
    const { spec, weights, architecture } = await load();
    if (spec.language.layers % 2 !== 0) return expect(spec.language.layers).toBe(3);
    const parallel = { ...SINGLE, ppSize: 2 };
    const stages = expectedTensors(spec, weights, parallel, "float32");
    expect(stages.map(stage => shapesOf(stage)["lm_head.weight"])).toEqual([
      [spec.language.vocabSize, spec.language.hiddenSize],
      [spec.language.vocabSize, spec.language.hiddenSize],
    ]);
    expect(Object.keys(shapesOf(stages[0] ?? [])).sort()).toEqual(Object.keys(shapesOf(stages[1] ?? [])).sort());
    for (const rank of [0, 1]) {
      const graph = architecture.languageGraph(spec, { ...OPTIONS, ppSize: 2, rank });
      expect(verifyGraph(graph)).toEqual([]);
      expect(shapesOf(stages[rank] ?? [])).toMatchObject(weightsOf(graph));
    }
    const [first] = expectedEncoderTensors(spec, weights, { ...SINGLE }, "float32");
    expect(first === undefined).toBe(spec.encoderDecoder?.encoder === undefined);
  });

  it("names the tensors that are missing, and what is left over", async () => {
    const { source, spec, weights } = await load();
    const { tensors } = canonicalNames(source.tensors, weights.names);
    const layer = [...tensors.values()].find(tensor => /decoder.*(k_proj|SelfAttention\.k)\.weight$/.test(tensor.name));
    const without = new Map([...source.tensors].filter(([, tensor]) => tensor !== layer));
    expect(() => mapWeights(without, spec, weights, SINGLE, "float32")).toThrow(/CKP040.*(k_proj|SelfAttention\.k)/s);
    const more = new Map([...source.tensors, ["decoder.extra.weight", { ...layer, name: "decoder.extra.weight" }]]);
    expect(() => mapWeights(more as typeof source.tensors, spec, weights, SINGLE, "float32")).toThrow(/CKP041.*extra/s);
  });
});

it("splits T5's heads, bias table and lm_head over 2 ranks and gives the rest to both", async () => {
  const source = await openHf(join(FIXTURES, "t5_gated"));
  try {
    const { architecture, spec } = readModel({ ...source.config, num_heads: 3 });
    const weights = architecture.weights(spec);
    const whole = mapWeights(source.tensors, spec, weights, SINGLE, "float32").ranks[0] ?? [];
    const parts = mapWeights(source.tensors, spec, weights, { ...SINGLE, tpSize: 3 }, "float32").ranks;
    const bytes = async (rank: readonly TensorRecipe[], name: string): Promise<Buffer> => {
      const chunks: Uint8Array[] = [];
      for await (const chunk of recipeBytes(rank.find(recipe => recipe.name === name) as TensorRecipe))
        chunks.push(Uint8Array.from(chunk));
      return Buffer.concat(chunks);
    };
    for (const name of ["rel_attn_table", "decoder_layers.1.self_attention.rel_attn_table"]) {
      const joined = Buffer.concat(await Promise.all(parts.map(rank => bytes(rank, name))));
      expect(joined.equals(await bytes(whole, name)), name).toBe(true);
    }
    for (const name of ["embedding.vocab_embedding.weight", "final_layernorm.weight"])
      for (const rank of parts) expect((await bytes(rank, name)).equals(await bytes(whole, name)), name).toBe(true);
    expect(parts.map(rank => shapesOf(rank)["decoder_layers.0.cross_attention.qkv.weight"])).toEqual([
      [48, 32],
      [48, 32],
      [48, 32],
    ]);
  } finally {
    await source.close();
  }
});

function shapesOf(recipes: readonly TensorRecipe[]): Record<string, readonly number[]> {
  return Object.fromEntries(recipes.map(({ name, shape }) => [name, shape]));
}

function weightsOf(graph: Graph): Record<string, readonly number[]> {
  const stored = graph.initializers.filter(({ bytes }) => bytes === undefined);
  return Object.fromEntries(stored.map(({ value }) => [value.name, value.shape as number[]]));
}

import { describe, expect, it } from "vitest";
import { expectedTensors, mapWeights } from "../../../src/checkpoint/map.ts";
import { parallelProblems } from "../../../src/checkpoint/parallel-rules.ts";
import type { Parallel } from "../../../src/checkpoint/shard.ts";
import { MmtrtError } from "../../../src/diagnostics/index.ts";
import { readModel } from "../../../src/models/registry.ts";
import { type StoredTensor, sameShape, type TensorRecipe } from "../../../src/tensor/index.ts";
import { bytesInMemory, floatsOf, inMemory } from "./memory.ts";

const CONFIG = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_size: 12,
  num_hidden_layers: 4,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  head_dim: 4,
  intermediate_size: 18,
  vocab_size: 19,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
  attention_bias: true,
};
const [H, Q, KV, I, V] = [12, 24, 8, 18, 19];

const SINGLE: Parallel = {
  tpSize: 1,
  ppSize: 1,
  parallelEmbedding: false,
  embeddingShardingDim: 0,
  shareEmbedding: false,
};

/** Every tensor holds numbers of its own, so that a swapped or shifted one shows. */
function tensorsOf(config: Record<string, unknown> = CONFIG): StoredTensor[] {
  const layer = (l: number): [string, number[]][] =>
    Object.entries({
      "input_layernorm.weight": [H],
      "self_attn.q_proj.weight": [Q, H],
      "self_attn.q_proj.bias": [Q],
      "self_attn.k_proj.weight": [KV, H],
      "self_attn.k_proj.bias": [KV],
      "self_attn.v_proj.weight": [KV, H],
      "self_attn.v_proj.bias": [KV],
      "self_attn.o_proj.weight": [H, Q],
      "self_attn.o_proj.bias": [H],
      "post_attention_layernorm.weight": [H],
      "mlp.gate_proj.weight": [I, H],
      "mlp.up_proj.weight": [I, H],
      "mlp.down_proj.weight": [H, I],
    }).map(([name, shape]) => [`model.layers.${l}.${name}`, shape]);
  const all: [string, number[]][] = [
    ["model.embed_tokens.weight", [V, H]],
    ...[0, 1, 2, 3].flatMap(layer),
    ["model.norm.weight", [H]],
    ...(config.tie_word_embeddings === true ? [] : ([["lm_head.weight", [V, H]]] as [string, number[]][])),
  ];
  return all.map(([name, shape], n) => inMemory(name, shape, i => n * 1000 + i));
}

function map(
  parallel: Parallel = SINGLE,
  config: Record<string, unknown> = CONFIG,
  tensors = tensorsOf(config),
): ReturnType<typeof mapWeights> {
  const { spec, architecture } = readModel(config);
  return mapWeights(new Map(tensors.map(t => [t.name, t])), spec, architecture.weights(spec), parallel, "float32");
}

const values = async (ranks: readonly (readonly TensorRecipe[])[], rank: number, name: string): Promise<number[][]> => {
  const recipe = ranks[rank]?.find(r => r.name === name);
  if (recipe === undefined) throw new Error(`rank ${rank} has no ${name}`);
  const flat = await floatsOf(recipe);
  const width = recipe.shape[1] ?? 1;
  return Array.from({ length: recipe.shape[0] ?? 1 }, (_, r) => flat.slice(r * width, (r + 1) * width));
};

async function matrix(name: string): Promise<number[][]> {
  const tensor = tensorsOf().find(t => t.name === name) as StoredTensor;
  const flat = await floatsOf(tensor);
  const width = tensor.shape[1] ?? 1;
  return Array.from({ length: tensor.shape[0] ?? 1 }, (_, r) => flat.slice(r * width, (r + 1) * width));
}

const L2 = "transformer.layers.2";
const HF2 = "model.layers.2";

describe("tensor-parallel shards", () => {
  it.each([1, 2, 6])("of tp_size %i join to the stored tensors", async tp => {
    const { ranks } = map({ ...SINGLE, tpSize: tp });
    const each = <T>(f: (r: number) => Promise<T>): Promise<T[]> => Promise.all(ranks.map((_, r) => f(r)));
    const columns = await each(r => values(ranks, r, `${L2}.mlp.fc.weight`));
    expect(columns.flat()).toEqual(await matrix(`${HF2}.mlp.gate_proj.weight`));
    expect((await each(r => values(ranks, r, `${L2}.mlp.gate.weight`))).flat()).toEqual(
      await matrix(`${HF2}.mlp.up_proj.weight`),
    );
    const rows = await each(r => values(ranks, r, `${L2}.mlp.proj.weight`));
    expect(rows[0]?.map((_, i) => rows.flatMap(part => part[i] ?? []))).toEqual(
      await matrix(`${HF2}.mlp.down_proj.weight`),
    );
    const dense = await each(r => values(ranks, r, `${L2}.attention.dense.weight`));
    expect(dense[0]?.map((_, i) => dense.flatMap(part => part[i] ?? []))).toEqual(
      await matrix(`${HF2}.self_attn.o_proj.weight`),
    );
    for (const bias of await each(r => values(ranks, r, `${L2}.attention.dense.bias`)))
      expect(bias).toEqual(await matrix(`${HF2}.self_attn.o_proj.bias`));
    const head = (await each(r => values(ranks, r, "lm_head.weight"))).flat();
    expect(head.slice(0, V)).toEqual(await matrix("lm_head.weight"));
    expect(
      head
        .slice(V)
        .flat()
        .every(x => x === 0),
    ).toBe(true);
    expect(head).toHaveLength(Math.ceil(V / tp) * tp);
  });

  it.each(["weight", "bias"])(
    "of qkv hold each rank's query heads and its key/value heads, repeated when there are fewer (%s)",
    async kind => {
      const [q, k, v] = (await Promise.all(["q", "k", "v"].map(p => matrix(`${HF2}.self_attn.${p}_proj.${kind}`)))) as [
        number[][],
        number[][],
        number[][],
      ];
      const two = map({ ...SINGLE, tpSize: 2 }).ranks;
      expect(await values(two, 1, `${L2}.attention.qkv.${kind}`)).toEqual([
        ...q.slice(12),
        ...k.slice(4),
        ...v.slice(4),
      ]);
      const six = map({ ...SINGLE, tpSize: 6 }).ranks;
      expect(await values(six, 2, `${L2}.attention.qkv.${kind}`)).toEqual([
        ...q.slice(8, 12),
        ...k.slice(0, 4),
        ...v.slice(0, 4),
      ]);
      expect(await values(six, 3, `${L2}.attention.qkv.${kind}`)).toEqual([
        ...q.slice(12, 16),
        ...k.slice(4),
        ...v.slice(4),
      ]);
    },
  );

  it("of the embedding table are rows padded with zeros, or columns, as asked", async () => {
    const table = await matrix("model.embed_tokens.weight");
    const rows = map({ ...SINGLE, tpSize: 2, parallelEmbedding: true }).ranks;
    expect(await values(rows, 1, "transformer.vocab_embedding.weight")).toEqual([...table.slice(10), Array(H).fill(0)]);
    const columns = map({ ...SINGLE, tpSize: 2, parallelEmbedding: true, embeddingShardingDim: 1 }).ranks;
    expect(await values(columns, 1, "transformer.vocab_embedding.weight")).toEqual(table.map(row => row.slice(6)));
    const whole = map({ ...SINGLE, tpSize: 2 }).ranks;
    expect(await values(whole, 1, "transformer.vocab_embedding.weight")).toEqual(table);
  });
});

describe("pipeline stages", () => {
  it("number their layers from 0, with embeddings on the first and the head on the last", async () => {
    const { ranks } = map({ ...SINGLE, tpSize: 2, ppSize: 2 });
    expect(ranks).toHaveLength(4);
    const names = ranks.map(rank => rank.map(({ name }) => name));
    expect(names[0]).toEqual(names[1]);
    expect(names[0]).toContain("transformer.vocab_embedding.weight");
    expect(names[0]).not.toContain("lm_head.weight");
    expect(names[2]).toEqual(names[3]);
    expect(names[3]).toContain("transformer.ln_f.weight");
    expect(names[3]).not.toContain("transformer.vocab_embedding.weight");
    expect(names.flat().some(name => name.includes("layers.2."))).toBe(false);
    // rank = pp_rank · tp_size + tp_rank: rank 3 is the second half of layer 3 as its layer 1.
    const gate = await matrix("model.layers.3.mlp.gate_proj.weight");
    expect(await values(ranks, 3, "transformer.layers.1.mlp.fc.weight")).toEqual(gate.slice(9));
  });

  it("and ranks are expected from the spec alone to hold just what the mapping gives", () => {
    for (const parallel of [SINGLE, { ...SINGLE, tpSize: 6, ppSize: 2, parallelEmbedding: true }]) {
      const { spec, architecture } = readModel(CONFIG);
      const expected = expectedTensors(spec, architecture.weights(spec), parallel, "float32");
      const { ranks } = map(parallel);
      for (const [r, rank] of ranks.entries()) {
        expect(expected[r]?.map(({ name }) => name)).toEqual(rank.map(({ name }) => name));
        expect(rank.every((recipe, i) => sameShape(recipe.shape, expected[r]?.[i]?.shape ?? []))).toBe(true);
      }
    }
  });
});

describe("tied embeddings", () => {
  const tied = { ...CONFIG, tie_word_embeddings: true };

  it("give lm_head the embedding table, or leave it out when shared", async () => {
    const { ranks } = map({ ...SINGLE, tpSize: 2 }, tied);
    expect((await values(ranks, 1, "lm_head.weight")).slice(0, 9)).toEqual(
      (await matrix("model.embed_tokens.weight")).slice(10),
    );
    const shared = map({ ...SINGLE, shareEmbedding: true }, tied).ranks[0] ?? [];
    expect(shared.map(({ name }) => name)).not.toContain("lm_head.weight");
  });

  it("name a stored lm_head for comparison instead of refusing it as left over", () => {
    const { copies, coverage } = map(SINGLE, tied, [...tensorsOf(tied), inMemory("lm_head.weight", [V, H])]);
    expect(copies.map(({ copy, original }) => [copy.name, original.name])).toEqual([
      ["lm_head.weight", "model.embed_tokens.weight"],
    ]);
    expect(coverage.ignored).toEqual(["lm_head.weight"]);
  });
});

describe("coverage", () => {
  const problemsOf = (tensors: readonly StoredTensor[], config: Record<string, unknown> = CONFIG): string[] => {
    try {
      map(SINGLE, config, [...tensors]);
      return [];
    } catch (error) {
      if (!(error instanceof MmtrtError)) throw error;
      return error.problems.map(({ code, what, at }) => `${code} ${what} @ ${at}`);
    }
  };

  it("accepts every tensor used once and known buffers ignored", () => {
    const { coverage } = map(SINGLE, CONFIG, [
      ...tensorsOf(),
      inMemory("model.layers.1.self_attn.rotary_emb.inv_freq", [2]),
    ]);
    expect(coverage).toEqual({ used: tensorsOf().length, ignored: ["model.layers.1.self_attn.rotary_emb.inv_freq"] });
  });

  it("takes names without the model. prefix", () => {
    expect(problemsOf(tensorsOf().map(t => ({ ...t, name: t.name.replace(/^model\./, "") })))).toEqual([]);
  });

  it("names a missing tensor with its shape and one that looks alike", () => {
    const renamed = tensorsOf().map(t =>
      t.name === `${HF2}.mlp.up_proj.weight` ? { ...t, name: `${HF2}.mlp.upp_proj.weight` } : t,
    );
    expect(problemsOf(renamed)).toEqual([
      `CKP040 1 tensor is missing: ${HF2}.mlp.up_proj.weight [18, 12]; left over and alike: ${HF2}.mlp.upp_proj.weight @ ${HF2}.mlp.up_proj.weight`,
      `CKP041 1 stored tensor has no place in the model: ${HF2}.mlp.upp_proj.weight @ ${HF2}.mlp.upp_proj.weight in memory.safetensors, byte 0`,
    ]);
  });

  it("tells a config with too many layers from a missing shard, and too few from a left-over tensor", () => {
    expect(problemsOf(tensorsOf(), { ...CONFIG, num_hidden_layers: 40 })).toEqual([
      "CKP040 config.json says 40 layers, but the weights have 4 @ config.json: num_hidden_layers",
    ]);
    const [problem] = problemsOf(tensorsOf(), { ...CONFIG, num_hidden_layers: 2 });
    expect(problem).toMatch(/^CKP041 26 stored tensors have no place.*and 18 more/);
  });

  it("reports wrong shapes and dtypes with shard and byte, all of them", () => {
    const tensors = tensorsOf().map(t =>
      t.name === `${HF2}.mlp.up_proj.weight`
        ? inMemory(t.name, [18, 13])
        : t.name === "lm_head.weight"
          ? bytesInMemory(t.name, "int16", t.shape)
          : t,
    );
    expect(problemsOf(tensors).map(p => p.slice(0, 6))).toEqual(["CKP042", "CKP043"]);
    expect(problemsOf(tensors)[0]).toContain(
      "is [18, 13]; config.json implies [18, 12] @ model.layers.2.mlp.up_proj.weight in memory.safetensors, byte 0",
    );
  });

  it("refuses a checkpoint that mixes two name layouts", () => {
    expect(problemsOf([...tensorsOf(), inMemory("norm.weight", [H])])[0]).toMatch(
      /^CKP044 model.norm.weight and norm.weight both mean model.norm.weight/,
    );
  });
});

describe("parallel rules", () => {
  it("refuse to cut a key/value head in parts", () => {
    const { language } = readModel(CONFIG).spec;
    const problems = parallelProblems(language, { ...SINGLE, tpSize: 3 }, {}, key => `--${key}`);
    expect(problems.map(({ code, what }) => `${code} ${what}`)).toEqual([
      "CKP052 tp_size 3 does not fit 2 key/value heads",
    ]);
  });

  it("collect everything that keeps a model from being split, with values that fit", () => {
    const { language } = readModel(CONFIG).spec;
    const problems = parallelProblems(
      language,
      { tpSize: 4, ppSize: 3, parallelEmbedding: true, embeddingShardingDim: 1, shareEmbedding: true },
      {},
      key => `--${key}`,
    );
    expect(problems.map(({ code, at }) => `${code} ${at}`)).toEqual([
      "CKP052 --tp_size",
      "CKP052 --tp_size",
      "CKP053 --pp_size",
      "CKP054 --use_embedding_sharing",
      "CKP054 --use_embedding_sharing",
      "CKP054 --use_embedding_sharing",
    ]);
    expect(problems[0]?.fix).toBe("--tp_size 1, 2, 6");
    expect(problems[2]?.fix).toBe("--pp_size 1, 2, 4");
  });
});

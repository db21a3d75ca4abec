import { describe, expect, it } from "vitest";
import { readGgufLlama } from "../../../src/checkpoint/open/gguf-llama.ts";
import type { Gguf, GgufValue } from "../../../src/formats/gguf.ts";
import { rowBytes, type Shape, type StoredTensor } from "../../../src/tensor/index.ts";

const HEAD = 6;
const METADATA: Readonly<Record<string, GgufValue>> = {
  "llama.attention.head_count": 3,
  "llama.attention.head_count_kv": 1,
  "llama.attention.layer_norm_rms_epsilon": 1e-5,
  "llama.block_count": 1,
  "llama.context_length": 989,
  "llama.embedding_length": 3 * HEAD,
  "llama.feed_forward_length": 19,
};

function tensor(name: string, shape: Shape): StoredTensor {
  const row = rowBytes("float32", shape);
  return { name, dtype: "float32", shape, at: "m.gguf", readRows: async (a, b) => new Uint8Array((b - a) * row) };
}

function gguf(metadata: Readonly<Record<string, GgufValue>>, more: Readonly<Record<string, Shape>> = {}): Gguf {
  const shapes = {
    "token_embd.weight": [19, 18],
    "blk.0.attn_q.weight": [18, 18],
    "blk.0.ffn_up.weight": [19, 18],
    ...more,
  };
  return {
    path: "m.gguf",
    metadata: new Map(Object.entries({ ...METADATA, ...metadata })),
    tensors: new Map(Object.entries(shapes).map(([name, shape]) => [name, tensor(name, shape)])),
  };
}

describe("a LLaMA in a GGUF file", () => {
  it("has the config of Hugging Face, of which what is not written follows from the rest", async () => {
    const ids = {
      "tokenizer.ggml.padding_token_id": 7,
      "tokenizer.ggml.eos_token_id": 2,
      "tokenizer.ggml.eot_token_id": 5,
    };
    const { config, tensors } = await readGgufLlama(gguf(ids, { "output_norm.weight": [18] }));
    expect(config).toMatchObject({
      ...{ head_dim: HEAD, num_key_value_heads: 1, rope_theta: 10_000, vocab_size: 19, tie_word_embeddings: true },
      ...{ pad_token_id: 7, eos_token_id: [2, 5], attention_bias: false },
    });
    expect(config).not.toHaveProperty("rope_scaling");
    expect([...tensors.keys()]).toEqual([
      "model.embed_tokens.weight",
      "model.layers.0.self_attn.q_proj.weight",
      "model.layers.0.mlp.up_proj.weight",
      "model.norm.weight",
    ]);
  });

  it("keeps names that it does not know, for the account of tensors to refuse", async () => {
    const { tensors } = await readGgufLlama(gguf({}, { "blk.0.ssm_in.weight": [19], strange: [1] }));
    expect([...tensors.keys()]).toEqual(expect.arrayContaining(["blk.0.ssm_in.weight", "strange"]));
  });

  it.each<[string, Readonly<Record<string, GgufValue>>, number | undefined]>([
    ["by its type and factor", { "llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 2.5 }, 2.5],
    ["by the older key alone", { "llama.rope.scale_linear": 4 }, 4],
    ["by one, which is none", { "llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 1 }, undefined],
    ["by a factor without a type, which is none", { "llama.rope.scaling.factor": 8 }, undefined],
  ])("scales its positions %s", async (_, metadata, factor) => {
    const { config } = await readGgufLlama(gguf(metadata));
    expect(config.rope_scaling).toEqual(factor === undefined ? undefined : { rope_type: "linear", factor });
  });

  it.each<[string, Readonly<Record<string, GgufValue>>]>([
    [
      "llama.rope.scaling.type is .*yarn.*; supported: none, linear",
      { "llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 2 },
    ],
    ["llama.attention.key_length is 5; supported: an even number", { "llama.attention.key_length": 5 }],
    ["llama.attention.value_length is 4; supported: 6", { "llama.attention.value_length": 4 }],
    ["llama.rope.dimension_count is 2; supported: 6", { "llama.rope.dimension_count": 2 }],
    ["llama.expert_count is 8; supported: 0", { "llama.expert_count": 8 }],
    ["llama.attention.sliding_window is a key this version does not know", { "llama.attention.sliding_window": 99 }],
  ])("is refused where its numbers would be others: %s", async (message, metadata) => {
    await expect(readGgufLlama(gguf(metadata))).rejects.toThrow(new RegExp(`CKP018.*${message}`, "s"));
  });

  it("of experts that are none is an ordinary one", async () => {
    expect((await readGgufLlama(gguf({ "llama.expert_count": 0 }))).config.model_type).toBe("llama");
  });

  it("has whole heads of queries and keys, and its embedding", async () => {
    const cut = gguf({}, { "blk.0.attn_k.weight": [HEAD - 1, 18] });
    await expect(readGgufLlama(cut)).rejects.toThrow(/CKP016.*attn_k\.weight has 5 rows, not whole heads of 6/s);
    const whole = gguf({});
    const tensors = new Map([...whole.tensors].filter(([name]) => name !== "token_embd.weight"));
    await expect(readGgufLlama({ ...whole, tensors })).rejects.toThrow(/CKP016.*token_embd\.weight is missing/s);
  });
});

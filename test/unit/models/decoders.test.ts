import { describe, expect, it } from "vitest";
import { MmtrtError } from "../../../src/diagnostics/index.ts";
import { readModel } from "../../../src/models/registry.ts";

type Config = Readonly<Record<string, unknown>>;

const OPT: Config = {
  architectures: ["OPTForCausalLM"],
  model_type: "opt",
  hidden_size: 40,
  num_hidden_layers: 3,
  num_attention_heads: 5,
  ffn_dim: 52,
  vocab_size: 113,
  max_position_embeddings: 67,
};
const GPT2: Config = {
  architectures: ["GPT2LMHeadModel"],
  model_type: "gpt2",
  n_embd: 42,
  n_layer: 3,
  n_head: 6,
  n_positions: 61,
  vocab_size: 97,
};
const LLAMA_LIKE: Config = {
  hidden_size: 48,
  num_hidden_layers: 3,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  intermediate_size: 88,
  vocab_size: 199,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
};
const QWEN2: Config = { ...LLAMA_LIKE, architectures: ["Qwen2ForCausalLM"], model_type: "qwen2" };
const MISTRAL: Config = { ...LLAMA_LIKE, architectures: ["MistralForCausalLM"], model_type: "mistral" };

function problemsOf(config: Config): string[] {
  try {
    readModel(config);
    return [];
  } catch (error) {
    if (!(error instanceof MmtrtError)) throw error;
    return error.problems.map(({ code, at }) => `${code} ${at.replace("config.json: ", "")}`);
  }
}

describe("an OPT config", () => {
  it("is a decoder with biases, layer norms and tied embeddings of its own width", () => {
    expect(readModel(OPT).spec.language).toMatchObject({
      mlp: "plain",
      norm: "layer",
      tiedEmbeddings: true,
      headDim: 8,
    });
    expect(readModel(OPT).spec.language).not.toHaveProperty("embeddingSize");
    const narrow = readModel({ ...OPT, word_embed_proj_dim: 24, do_layer_norm_before: false }).spec.language;
    expect(narrow).toMatchObject({ embeddingSize: 24, postNorm: true });
  });

  it.each([
    [{ enable_bias: false }, "SPC004 enable_bias"],
    [{ layer_norm_elementwise_affine: false }, "SPC004 layer_norm_elementwise_affine"],
    [{ _remove_final_layer_norm: true }, "SPC004 _remove_final_layer_norm"],
    [{ activation_function: "tanh" }, "SPC002 activation_function"],
    [{ num_attention_heads: 7 }, "SPC006 num_attention_heads"],
    [{ ffn_dim: undefined }, "SPC001 ffn_dim"],
    [{ sliding_window: 4 }, "SPC003 sliding_window"],
  ])("is refused with %o", (change, problem) => {
    expect(problemsOf({ ...OPT, ...change })).toEqual([problem]);
  });
});

describe("a GPT-2 config", () => {
  it("has four times its width inside unless n_inner says otherwise", () => {
    expect(readModel({ ...GPT2, n_inner: null }).spec.language.intermediateSize).toBe(168);
    expect(readModel({ ...GPT2, n_inner: 55 }).spec.language.intermediateSize).toBe(55);
  });

  it.each([
    [{ scale_attn_weights: false }, "SPC004 scale_attn_weights"],
    [{ scale_attn_by_inverse_layer_idx: true }, "SPC004 scale_attn_by_inverse_layer_idx"],
    [{ add_cross_attention: true }, "SPC004 add_cross_attention"],
    [{ n_head: 5 }, "SPC006 n_head"],
  ])("is refused with %o", (change, problem) => {
    expect(problemsOf({ ...GPT2, ...change })).toEqual([problem]);
  });
});

describe("a Qwen2 config", () => {
  it("has biases on q, k and v alone, and says nothing by a window that is not used", () => {
    const { language } = readModel({
      ...QWEN2,
      use_sliding_window: false,
      sliding_window: 32,
      max_window_layers: 2,
    }).spec;
    expect(language).toMatchObject({ attentionBias: true, outputBias: false, mlpBias: false });
  });

  it.each([
    [{ use_mrope: true }, "SPC004 use_mrope"],
    [{ layer_types: ["full_attention", "sliding_attention", "full_attention"] }, "SPC005 layer_types"],
    [{ use_sliding_window: true, sliding_window: 0 }, "SPC002 sliding_window"],
    [{ use_sliding_window: true, max_window_layers: -1 }, "SPC002 max_window_layers"],
  ])("is refused with %o", (change, problem) => {
    expect(problemsOf({ ...QWEN2, ...change })).toEqual([problem]);
  });
});

describe("a Qwen2 config with use_sliding_window", () => {
  const kindsOf = (change: Config): unknown =>
    readModel({ ...QWEN2, use_sliding_window: true, sliding_window: 5, ...change }).spec.language;

  it("has a window in layers from max_window_layers on", () => {
    const full = { rope: "global" };
    expect(kindsOf({ max_window_layers: 1 })).toMatchObject({
      layerKinds: [full, { ...full, window: 5 }, { ...full, window: 5 }],
    });
    expect(kindsOf({ max_window_layers: 0 })).toMatchObject({ slidingWindow: 5 });
  });

  it("has none where every layer comes before them, or there is no window", () => {
    for (const change of [{}, { max_window_layers: 3 }, { max_window_layers: 1, sliding_window: null }]) {
      expect(kindsOf(change)).not.toHaveProperty("layerKinds");
      expect(kindsOf(change)).not.toHaveProperty("slidingWindow");
    }
  });
});

describe("a Mistral config", () => {
  it.each([
    [null, undefined],
    [3, 3],
    [128, 128],
    // MistralConfig's default.
    [undefined, 4096],
  ])("has with sliding_window %o a window of %o", (window, expected) => {
    const { language } = readModel({ ...MISTRAL, sliding_window: window }).spec;
    expect(language.slidingWindow).toBe(expected);
  });

  it("is refused with a window that is no number of tokens", () => {
    for (const window of [0, -1, 2.5, "all"])
      expect(problemsOf({ ...MISTRAL, sliding_window: window })).toEqual(["SPC002 sliding_window"]);
  });
});

describe("the limits of an architecture", () => {
  it("keep OPT on one pipeline stage, and opt-350m's tables whole", () => {
    const { architecture, spec } = readModel(OPT);
    expect(architecture.limits?.(spec)).toHaveProperty("onePipelineStage");
    expect(architecture.limits?.(spec)).not.toHaveProperty("plainEmbedding");
    const narrow = readModel({ ...OPT, word_embed_proj_dim: 24 });
    expect(narrow.architecture.limits?.(narrow.spec)).toHaveProperty("plainEmbedding");
  });
});

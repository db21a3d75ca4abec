import { describe, expect, it } from "vitest";
import { MmtrtError } from "../../../src/diagnostics/index.ts";
import { readModel } from "../../../src/models/registry.ts";
import type { DecoderSpec } from "../../../src/models/spec.ts";

type Config = Readonly<Record<string, unknown>>;

const SIZES: Config = {
  hidden_size: 48,
  num_hidden_layers: 7,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  intermediate_size: 88,
  vocab_size: 199,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
};
const GEMMA: Config = { ...SIZES, head_dim: 10, architectures: ["GemmaForCausalLM"], model_type: "gemma" };
const GEMMA2: Config = { ...GEMMA, architectures: ["Gemma2ForCausalLM"], model_type: "gemma2" };
const GEMMA3: Config = { ...GEMMA, architectures: ["Gemma3ForCausalLM"], model_type: "gemma3_text" };
const PHI3: Config = { ...SIZES, architectures: ["Phi3ForCausalLM"], model_type: "phi3" };
const SMOLLM3: Config = { ...SIZES, architectures: ["SmolLM3ForCausalLM"], model_type: "smollm3" };
const INTERNLM2: Config = { ...SIZES, architectures: ["InternLM2ForCausalLM"], model_type: "internlm2" };

function languageOf(config: Config): DecoderSpec {
  return readModel(config).spec.language;
}

function problemsOf(config: Config): string[] {
  try {
    readModel(config);
    return [];
  } catch (error) {
    if (!(error instanceof MmtrtError)) throw error;
    return error.problems.map(({ code, at }) => `${code} ${at.replace("config.json: ", "")}`);
  }
}

const [FULL, SLIDING] = ["full_attention", "sliding_attention"];

describe("a Gemma config", () => {
  it("ties its tables where it does not say, as its class does", () => {
    expect(languageOf(GEMMA).tiedEmbeddings).toBe(true);
    expect(languageOf({ ...GEMMA, tie_word_embeddings: false }).tiedEmbeddings).toBe(false);
  });

  it("means gelu by tanh where it was first published with gelu", () => {
    expect(languageOf({ ...GEMMA, hidden_act: "gelu" }).activation).toBe("gelu_tanh");
    expect(languageOf({ ...GEMMA, hidden_act: "gelu", hidden_activation: "silu" }).activation).toBe("silu");
    expect(languageOf(GEMMA).activation).toBe("gelu_tanh");
  });

  it("is refused when tokens see those after them", () => {
    for (const config of [GEMMA, GEMMA2, GEMMA3])
      expect(problemsOf({ ...config, use_bidirectional_attention: true })).toEqual([
        "SPC004 use_bidirectional_attention",
      ]);
  });
});

describe("a Gemma 2 config", () => {
  it("has a window in every other layer from the first, and its class's caps", () => {
    const language = languageOf(GEMMA2);
    const windows = language.layerKinds?.map(({ window }) => window);
    expect(windows).toEqual([4096, undefined, 4096, undefined, 4096, undefined, 4096]);
    expect(language).toMatchObject({ scoreCap: 50, logitCap: 30, queryPreAttnScalar: 256, outputNorms: true });
  });

  it("has no caps where they are null, and no window", () => {
    const none = { attn_logit_softcapping: null, final_logit_softcapping: null, sliding_window: null };
    const language = languageOf({ ...GEMMA2, ...none });
    for (const key of ["scoreCap", "logitCap", "layerKinds", "slidingWindow"]) expect(language).not.toHaveProperty(key);
  });

  it.each([
    [{ layer_types: [FULL, SLIDING] }, "SPC004 layer_types"],
    [{ layer_types: Array(7).fill("chunked_attention") }, "SPC004 layer_types"],
    [{ attn_logit_softcapping: 0 }, "SPC002 attn_logit_softcapping"],
    [{ query_pre_attn_scalar: -1 }, "SPC002 query_pre_attn_scalar"],
    [{ sliding_window: 0 }, "SPC002 sliding_window"],
    [{ rope_local_base_freq: 5 }, "SPC003 rope_local_base_freq"],
  ])("is refused with %o", (change, problem) => {
    expect(problemsOf({ ...GEMMA2, ...change })).toEqual([problem]);
  });
});

describe("a Gemma 3 config", () => {
  const local = { rope: "local", window: 4096 };

  it("has five layers with a window and a base of their own before each that sees everything", () => {
    expect(languageOf(GEMMA3)).toMatchObject({
      layerKinds: [local, local, local, local, local, { rope: "global" }, local],
      ropeTheta: 1_000_000,
      localRopeTheta: 10_000,
      qkNorm: true,
    });
    const every = languageOf({ ...GEMMA3, sliding_window_pattern: 2 }).layerKinds?.map(({ rope }) => rope);
    expect(every).toEqual(["local", "global", "local", "global", "local", "global", "local"]);
  });

  it("says the same in the words of transformers 4 and 5", () => {
    const scaling = { rope_type: "linear", factor: 8 };
    const old = { rope_theta: 5e5, rope_local_base_freq: 700, rope_scaling: scaling };
    const types = { full_attention: { ...scaling, rope_theta: 5e5 }, sliding_attention: { rope_theta: 700 } };
    const expected = languageOf({ ...GEMMA3, ...old });
    expect(expected).toMatchObject({ ropeTheta: 5e5, localRopeTheta: 700, ropeScaling: { type: "linear", factor: 8 } });
    expect(languageOf({ ...GEMMA3, rope_parameters: types })).toEqual(expected);
    expect(languageOf({ ...GEMMA3, ...old, rope_parameters: types })).toEqual(expected);
  });

  it.each([
    [{ rope_theta: 5, rope_parameters: { full_attention: { rope_theta: 6 } } }, "SPC005 rope_theta"],
    [
      { rope_parameters: { sliding_attention: { rope_type: "linear", factor: 2 } } },
      "SPC004 rope_parameters.sliding_attention.rope_type",
    ],
    [{ rope_parameters: { rope_theta: 6 } }, "SPC003 rope_parameters.rope_theta"],
    [{ attn_logit_softcapping: 50 }, "SPC004 attn_logit_softcapping"],
  ])("is refused with %o", (change, problem) => {
    expect(problemsOf({ ...GEMMA3, ...change })).toContain(problem);
  });
});

describe("a Phi-3 config", () => {
  const factors = { short_factor: [1, 1, 1], long_factor: [2, 3, 4] };
  const long = { ...factors, type: "longrope" };

  it("rotates part of a head, as said at the top or in rope_parameters", () => {
    expect(languageOf({ ...PHI3, partial_rotary_factor: 0.75 }).rotaryDim).toBe(6);
    const inner = { rope_parameters: { rope_type: "default", partial_rotary_factor: 0.75 } };
    expect(languageOf({ ...PHI3, ...inner }).rotaryDim).toBe(6);
    expect(languageOf(PHI3)).not.toHaveProperty("rotaryDim");
  });

  it("has LongRoPE by its older names too, from the length beside it", () => {
    const given = { partial_rotary_factor: 0.75, original_max_position_embeddings: 32 };
    for (const type of ["longrope", "su", "yarn"]) {
      const { ropeScaling } = languageOf({ ...PHI3, ...given, rope_scaling: { ...long, type } });
      expect(ropeScaling).toMatchObject({
        type: "longrope",
        factor: 4,
        parameters: { ...factors, original_max_position_embeddings: 32 },
      });
    }
  });

  it.each([
    [{ partial_rotary_factor: 0.4 }, "SPC006 partial_rotary_factor"],
    [{ partial_rotary_factor: 1.5 }, "SPC006 partial_rotary_factor"],
    [{ rope_scaling: long }, "SPC006 rope_scaling.short_factor"],
    [{ attention_bias: true }, "SPC004 attention_bias"],
    [{ mup_width_multiplier: 8 }, "SPC003 mup_width_multiplier"],
  ])("is refused with %o", (change, problem) => {
    expect(problemsOf({ ...PHI3, ...change })).toContain(problem);
  });
});

describe("a SmolLM3 config", () => {
  it("counts no positions in every fourth layer, or in those that no_rope_layers has 0 for", () => {
    const ropes = (change: Config): unknown =>
      languageOf({ ...SMOLLM3, ...change }).layerKinds?.map(({ rope }) => rope === "none");
    expect(ropes({})).toEqual([false, false, false, true, false, false, false]);
    expect(ropes({ no_rope_layers: [0, 1, 1, 1, 1, 1, 0] })).toEqual([true, false, false, false, false, false, true]);
    expect(ropes({ no_rope_layers: Array(7).fill(1) })).toBeUndefined();
  });

  it("gives the window to layers that count nothing, where it is used", () => {
    const language = languageOf({ ...SMOLLM3, use_sliding_window: true, sliding_window: 9 });
    expect(language.layerKinds?.map(({ window }) => window)).toEqual([...Array(3), 9, ...Array(3)]);
  });

  it.each([
    [{ no_rope_layers: [1, 0] }, "SPC002 no_rope_layers"],
    [{ no_rope_layers: Array(7).fill(2) }, "SPC002 no_rope_layers"],
    [{ no_rope_layer_interval: 0 }, "SPC002 no_rope_layer_interval"],
  ])("is refused with %o", (change, problem) => {
    expect(problemsOf({ ...SMOLLM3, ...change })).toEqual([problem]);
  });
});

describe("an InternLM2 config", () => {
  it("has attention's biases where bias says so, and none in the MLP", () => {
    expect(languageOf({ ...INTERNLM2, bias: true })).toMatchObject({ attentionBias: true, mlpBias: false });
    expect(languageOf({ ...INTERNLM2, bias: false })).toMatchObject({ attentionBias: false });
  });

  it("takes q, k and v of each group from wqkv, and each row once", () => {
    const { spec, architecture } = readModel(INTERNLM2);
    const rule = architecture.weights(spec).language.find(({ to }) => to.endsWith("attention.qkv.weight"));
    // 3 query heads, keys and values of 8 channels for each of 2 groups.
    expect(rule?.rows).toEqual([
      [0, 24],
      [40, 64],
      [24, 32],
      [64, 72],
      [32, 40],
      [72, 80],
    ]);
  });
});

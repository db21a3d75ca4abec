import { describe, expect, it } from "vitest";
import { MmtrtError } from "../../../src/diagnostics/index.ts";
import { rotaryScaling } from "../../../src/models/parts/checkpoint-config.ts";
import { readModel } from "../../../src/models/registry.ts";
import type { DecoderSpec } from "../../../src/models/spec.ts";
import { trainedPositions } from "../../../src/rules/lengths.ts";

/** A head of 10 channels: five pairs. */
const LLAMA = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_size: 60,
  num_hidden_layers: 3,
  num_attention_heads: 6,
  intermediate_size: 88,
  vocab_size: 199,
  max_position_embeddings: 96,
  rms_norm_eps: 1e-5,
};
const YARN = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 24 };
const LISTS = { short_factor: [1, 1.1, 1.3, 1, 2], long_factor: [1, 2.5, 4, 7.5, 11] };
const LONGROPE = { rope_type: "longrope", original_max_position_embeddings: 24, ...LISTS };

function languageOf(config: Record<string, unknown>): DecoderSpec {
  return readModel({ ...LLAMA, ...config }).spec.language;
}

function problemsOf(rope_scaling: Record<string, unknown>): string[] {
  try {
    languageOf({ rope_scaling });
    return [];
  } catch (error) {
    if (!(error instanceof MmtrtError)) throw error;
    return error.problems.map(({ code, what }) => `${code} ${what}`);
  }
}

describe("yarn and longrope in config.json", () => {
  it("read the same in the spellings of transformers 4 and 5", () => {
    for (const scaling of [YARN, LONGROPE]) {
      const { rope_type, ...rest } = scaling;
      const four = languageOf({ rope_theta: 5e5, rope_scaling: { ...rest, type: rope_type } });
      const five = languageOf({ rope_parameters: { ...scaling, rope_theta: 5e5 } });
      const both = languageOf({
        rope_theta: 5e5,
        rope_scaling: scaling,
        rope_parameters: { ...scaling, rope_theta: 5e5 },
      });
      expect(four).toEqual(five);
      expect(both).toEqual(five);
      expect(five.ropeScaling?.type).toBe(rope_type);
    }
  });

  it("have transformers' defaults: the whole length as the original one, the quotient of both as factor", () => {
    expect(languageOf({ rope_scaling: { type: "yarn", factor: 4, finetuned: true } }).ropeScaling).toEqual({
      type: "yarn",
      factor: 4,
      parameters: { original_max_position_embeddings: 96 },
    });
    expect(languageOf({ rope_scaling: { ...YARN, factor: null } }).ropeScaling?.factor).toBe(4);
    expect(languageOf({ rope_scaling: LONGROPE }).ropeScaling).toEqual({
      type: "longrope",
      factor: 4,
      parameters: { original_max_position_embeddings: 24, ...LISTS },
    });
  });

  it("keep every number that angles depend on, and refuse a key that nobody reads", () => {
    const all = { attention_factor: 1.2, beta_fast: 20, beta_slow: 0.5, mscale: 0.9, mscale_all_dim: 0.7 };
    expect(languageOf({ rope_scaling: { ...YARN, ...all, truncate: false } }).ropeScaling?.parameters).toEqual({
      original_max_position_embeddings: 24,
      ...all,
      truncate: false,
    });
    expect(problemsOf({ ...YARN, long_factor: [1] })).toEqual([
      expect.stringMatching(/^SPC003 rope_scaling.long_factor/),
    ]);
    expect(problemsOf({ ...LONGROPE, beta_fast: 3 })).toEqual([
      expect.stringMatching(/^SPC003 rope_scaling.beta_fast/),
    ]);
  });

  it("are refused with lists of the wrong length, without them, and with numbers that divide by nothing", () => {
    expect(problemsOf({ ...LONGROPE, short_factor: [1, 1, 1, 1], long_factor: [1, 1, 1, 1, 1, 1] })).toEqual([
      "SPC006 rope_scaling.short_factor has 4 numbers; expected 5, half of the head size 10",
      "SPC006 rope_scaling.long_factor has 6 numbers; expected 5, half of the head size 10",
    ]);
    expect(problemsOf({ rope_type: "longrope", original_max_position_embeddings: 24 })).toEqual([
      "SPC001 rope_scaling.short_factor is not a list of positive numbers",
      "SPC001 rope_scaling.long_factor is not a list of positive numbers",
    ]);
    expect(problemsOf({ ...LONGROPE, original_max_position_embeddings: 1 })).toEqual([
      "SPC002 rope_scaling.original_max_position_embeddings is 1; expected 2 or more",
    ]);
    expect(problemsOf({ ...LONGROPE, long_factor: [1, 2, 0, 4, 5] })).toEqual([
      "SPC002 rope_scaling.long_factor is not a list of positive numbers",
    ]);
    expect(problemsOf({ ...YARN, attention_factor: -1, truncate: "no" }).map(text => text.slice(0, 40))).toEqual([
      "SPC002 rope_scaling.attention_factor is ",
      'SPC002 rope_scaling.truncate is "no"; ex',
    ]);
  });

  it("say the name of today for the type that transformers does not know any more", () => {
    expect(problemsOf({ type: "su", ...LISTS })).toEqual([
      'SPC004 rope_scaling.rope_type is "su"; supported: "default", "linear", "dynamic", "llama3", "yarn", "longrope"',
    ]);
    expect(() => languageOf({ rope_scaling: { type: "su" } })).toThrow(/SPC004/);
    expect(problemsOf({ rope_type: "toString" })).toEqual([expect.stringMatching(/^SPC004/)]);
  });

  it("are written into the checkpoint with every key that was read", () => {
    expect(rotaryScaling(languageOf({ rope_scaling: { ...YARN, beta_fast: 20 } }))).toEqual({
      factor: 4,
      original_max_position_embeddings: 24,
      beta_fast: 20,
      type: "yarn",
      rope_type: "yarn",
    });
    expect(rotaryScaling(languageOf({ rope_scaling: LONGROPE }))).toEqual({ ...LONGROPE, factor: 4, type: "longrope" });
  });
});

describe("the positions that a scaled model was trained for", () => {
  it("are counted once, whichever of both lengths max_position_embeddings is", () => {
    expect(trainedPositions(languageOf({ rope_scaling: YARN }))).toBe(96);
    expect(trainedPositions(languageOf({ max_position_embeddings: 24, rope_scaling: YARN }))).toBe(96);
    expect(trainedPositions(languageOf({ rope_scaling: LONGROPE }))).toBe(96);
    expect(trainedPositions(languageOf({ rope_scaling: { type: "linear", factor: 1.5 } }))).toBe(144);
  });
});

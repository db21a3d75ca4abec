import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { MODEL_INDEX, modelIndex } from "../../../scripts/index-models.ts";
import { MmtrtError } from "../../../src/diagnostics/index.ts";
import { readModel } from "../../../src/models/registry.ts";

const LLAMA = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_size: 48,
  num_hidden_layers: 3,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  intermediate_size: 88,
  vocab_size: 199,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
};

const CLIP = {
  model_type: "clip_vision_model",
  hidden_size: 40,
  num_hidden_layers: 3,
  num_attention_heads: 5,
  intermediate_size: 72,
  image_size: 43,
  patch_size: 14,
};
const LLAVA = {
  architectures: ["LlavaForConditionalGeneration"],
  model_type: "llava",
  text_config: { ...LLAMA, architectures: undefined },
  vision_config: CLIP,
  image_token_index: 198,
};

function codesOf(config: Record<string, unknown>): string[] {
  try {
    readModel(config);
    return [];
  } catch (error) {
    if (!(error instanceof MmtrtError)) throw error;
    return error.problems.map(({ code, at }) => `${code} ${at.replace("config.json: ", "")}`);
  }
}

describe("a LLaMA config", () => {
  it("is read with transformers' meaning of every absent key", () => {
    const { spec } = readModel({ ...LLAMA, num_key_value_heads: undefined, eos_token_id: [2, 7] });
    expect(spec.language).toEqual({
      kind: "decoder",
      architecture: "LlamaForCausalLM",
      vocabSize: 199,
      hiddenSize: 48,
      layers: 3,
      heads: 6,
      kvHeads: 6,
      headDim: 8,
      intermediateSize: 88,
      activation: "silu",
      mlp: "gated",
      norm: "rms",
      normEps: 1e-5,
      positions: "rope",
      maxPositions: 128,
      ropeTheta: 10_000,
      attentionBias: false,
      outputBias: false,
      mlpBias: false,
      tiedEmbeddings: false,
    });
    expect(spec.eosTokenIds).toEqual([2, 7]);
    expect(spec.vision).toBeUndefined();
  });

  it("keeps a head_dim that is not hidden_size / heads", () => {
    expect(readModel({ ...LLAMA, head_dim: 22 }).spec.language.headDim).toBe(22);
  });

  it("gives the same rope in the spellings of transformers 4 and 5", () => {
    const scaling = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };
    const four = readModel({ ...LLAMA, rope_theta: 5e5, rope_scaling: { ...scaling, rope_type: "llama3" } });
    const five = readModel({ ...LLAMA, rope_parameters: { ...scaling, rope_type: "llama3", rope_theta: 5e5 } });
    expect(four.spec.language.ropeScaling).toMatchObject({
      type: "llama3",
      factor: 8,
      parameters: { low_freq_factor: 1 },
    });
    expect(five.spec.language).toEqual(four.spec.language);
    expect(readModel({ ...LLAMA, rope_scaling: { type: "linear", factor: 2 } }).spec.language.ropeScaling).toEqual({
      type: "linear",
      factor: 2,
      parameters: {},
    });
    expect(
      readModel({ ...LLAMA, rope_scaling: null, rope_parameters: { rope_type: "default", rope_theta: 7 } }).spec
        .language.ropeTheta,
    ).toBe(7);
  });

  it("is refused when two spellings of rope or dtype disagree", () => {
    expect(codesOf({ ...LLAMA, rope_theta: 1e4, rope_parameters: { rope_type: "default", rope_theta: 5e5 } })).toEqual([
      "SPC005 rope_theta",
    ]);
    expect(codesOf({ ...LLAMA, dtype: "float16", torch_dtype: "bfloat16" })).toEqual(["SPC005 dtype"]);
    expect(readModel({ ...LLAMA, dtype: "float16", torch_dtype: "float16" }).spec.declaredDtype).toBe("float16");
    expect(readModel({ ...LLAMA, torch_dtype: "auto" }).spec.declaredDtype).toBeUndefined();
  });

  it("reports all unusable keys at once, unread ones included", () => {
    expect(
      codesOf({ ...LLAMA, hidden_size: undefined, vocab_size: "many", sliding_window: 4096, num_hidden_layers: 1e15 }),
    ).toEqual(
      ["SPC001 hidden_size", "SPC002 num_hidden_layers", "SPC002 vocab_size", "SPC003 sliding_window"].sort(
        (a, b) => order(a) - order(b),
      ),
    );
  });

  it("is refused when heads, key/value heads and sizes do not fit together", () => {
    expect(codesOf({ ...LLAMA, num_key_value_heads: 4 })).toEqual(["SPC006 num_key_value_heads"]);
    expect(codesOf({ ...LLAMA, num_attention_heads: 7, num_key_value_heads: 7 })).toEqual([
      "SPC006 num_attention_heads",
    ]);
    expect(codesOf({ ...LLAMA, head_dim: 9 })).toEqual(["SPC006 head_dim"]);
  });

  it("is refused when the weights are quantized or rope is of a type that nobody knows", () => {
    expect(codesOf({ ...LLAMA, quantization_config: { quant_method: "bitsandbytes" } })).toEqual([
      "SPC009 quantization_config",
    ]);
    expect(codesOf({ ...LLAMA, rope_scaling: { type: "axial", factor: 2 } })).toContain(
      "SPC004 rope_scaling.rope_type",
    );
    expect(codesOf({ ...LLAMA, pruned_heads: { 1: [2] } })).toEqual(["SPC004 pruned_heads"]);
  });
});

function order(code: string): number {
  return ["hidden_size", "vocab_size", "num_hidden_layers", "sliding_window"].findIndex(key => code.endsWith(key));
}

describe("a LLaVA config", () => {
  it("fills nested configs with the defaults that transformers leaves out on saving", () => {
    const { spec } = readModel({
      architectures: ["LlavaForConditionalGeneration"],
      text_config: { model_type: "llama", vocab_size: 32_064, max_position_embeddings: 4096, rms_norm_eps: 1e-5 },
      vision_config: {
        model_type: "clip_vision_model",
        hidden_size: 1024,
        image_size: 336,
        intermediate_size: 4096,
        num_attention_heads: 16,
        num_hidden_layers: 24,
        patch_size: 14,
        projection_dim: 768,
        vocab_size: 32_000,
      },
      image_token_index: 32_000,
    });
    expect(spec.language).toMatchObject({
      hiddenSize: 4096,
      layers: 32,
      heads: 32,
      kvHeads: 32,
      intermediateSize: 11_008,
      vocabSize: 32_064,
      normEps: 1e-5,
    });
    expect(spec.vision).toMatchObject({
      runLayers: 23,
      numVisualFeatures: 576,
      dropClassToken: true,
      activation: "quick_gelu",
      channels: 3,
      normEps: 1e-5,
    });
    expect(spec.projector).toEqual({
      kind: "mlp2",
      inputSize: 1024,
      hiddenSize: 4096,
      outputSize: 4096,
      activation: "gelu",
      bias: true,
    });
    expect(spec).toMatchObject({ imageTokenId: 32_000, bosTokenId: 1, eosTokenIds: [2] });
  });

  it("counts patches by whole ones and the class token only where it is kept", () => {
    expect(readModel(LLAVA).spec.vision?.numVisualFeatures).toBe(9);
    expect(readModel({ ...LLAVA, vision_feature_select_strategy: "full" }).spec.vision).toMatchObject({
      numVisualFeatures: 10,
      dropClassToken: false,
    });
  });

  it.each([
    [-1, 3],
    [-2, 2],
    [-4, 0],
    [0, 0],
    [3, 3],
  ])("runs to the layer that vision_feature_layer %i means: %i layers", (layer, runLayers) => {
    expect(readModel({ ...LLAVA, vision_feature_layer: layer }).spec.vision?.runLayers).toBe(runLayers);
  });

  it("refuses feature layers that are a list or outside the tower", () => {
    expect(codesOf({ ...LLAVA, vision_feature_layer: [-2, -5] })).toEqual(["SPC004 vision_feature_layer"]);
    expect(codesOf({ ...LLAVA, vision_feature_layer: -5 })).toEqual(["SPC006 vision_feature_layer"]);
    expect(codesOf({ ...LLAVA, vision_feature_layer: 4 })).toEqual(["SPC006 vision_feature_layer"]);
  });

  it("refuses an image token outside the vocabulary, and takes the class default there as not set", () => {
    expect(codesOf({ ...LLAVA, image_token_index: 199 })).toEqual(["SPC007 image_token_index"]);
    expect(codesOf({ ...LLAVA, image_token_index: undefined, image_token_id: 4711 })).toEqual([
      "SPC007 image_token_id",
    ]);
    expect(codesOf({ ...LLAVA, image_token_id: 197 })).toEqual(["SPC005 image_token_index"]);
    const unset = readModel({ ...LLAVA, image_token_index: 32_000 });
    expect(unset.spec.imageTokenId).toBeUndefined();
    expect(unset.warnings.map(({ code }) => code)).toEqual(["SPC007"]);
  });

  it("refuses other language models and vision towers by name", () => {
    expect(codesOf({ ...LLAVA, text_config: { ...LLAVA.text_config, model_type: "gemma" } })).toEqual([
      "SPC004 text_config.model_type",
    ]);
    expect(codesOf({ ...LLAVA, vision_config: { ...CLIP, model_type: "dinov2" } })).toEqual([
      "SPC004 vision_config.model_type",
    ]);
  });
});

describe("the registry", () => {
  it("names what it knows when an architecture is unknown or missing", () => {
    expect(() => readModel({ ...LLAMA, architectures: ["FuyuForCausalLM"] })).toThrow(
      /SPC008.*FuyuForCausalLM.*LlamaForCausalLM, LlavaForConditionalGeneration/,
    );
    expect(() => readModel({ model_type: "llama" })).toThrow(/SPC008.*architectures is missing \(model_type "llama"\)/);
  });

  it("index is the one that scripts/index-models.ts writes", () => {
    expect(readFileSync(MODEL_INDEX, "utf8")).toBe(modelIndex());
  });
});

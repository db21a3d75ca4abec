import { describe, expect, it } from "vitest";
import { dealtOut } from "../../src/checkpoint/parallel-rules.ts";
import qwen25 from "../../src/models/qwen2-5-vl.ts";
import qwen2 from "../../src/models/qwen2-vl.ts";
import qwen3 from "../../src/models/qwen3-vl.ts";
import { readModel } from "../../src/models/registry.ts";
import { describeArchitecture } from "../support/describe-architecture.ts";
import { llamaTensors, perLayer } from "./names.ts";

const [LLM, WIDTH, DEEP, PATCH, VOCAB] = [24, 16, 20, 3, 19];
const WIDE = 4 * WIDTH;

const text = llamaTensors({ hidden: LLM, q: 24, kv: 12, intermediate: 44, vocab: VOCAB, layers: 2 });
const biases = perLayer(2, {
  "self_attn.q_proj.bias": [24],
  "self_attn.k_proj.bias": [12],
  "self_attn.v_proj.bias": [12],
});
const norms = perLayer(2, { "self_attn.q_norm.weight": [6], "self_attn.k_norm.weight": [6] });

const linear = (name: string, out: number, input: number) => ({
  [`${name}.weight`]: [out, input],
  [`${name}.bias`]: [out],
});
const norm = (name: string, size: number, bias = true) => ({
  [`${name}.weight`]: [size],
  ...(bias && { [`${name}.bias`]: [size] }),
});

/** What a layer of the encoder has in every family. */
const block = (at: string, bias: boolean) => ({
  ...norm(`${at}.norm1`, WIDTH, bias),
  ...norm(`${at}.norm2`, WIDTH, bias),
  ...linear(`${at}.attn.qkv`, 3 * WIDTH, WIDTH),
  ...linear(`${at}.attn.proj`, WIDTH, WIDTH),
});
const blocks = (layer: (at: string) => Record<string, number[]>) => ({
  ...layer("visual.blocks.0"),
  ...layer("visual.blocks.1"),
});
const kernel = { "visual.patch_embed.proj.weight": [WIDTH, 3, 2, PATCH, PATCH] };
const merger = { ...linear("visual.merger.mlp.0", WIDE, WIDE), ...linear("visual.merger.mlp.2", LLM, WIDE) };

const vision = { depth: 2, num_heads: 4, patch_size: PATCH };
const language = {
  ...{ hidden_size: LLM, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2 },
  ...{ intermediate_size: 44, vocab_size: VOCAB, max_position_embeddings: 64, rms_norm_eps: 1e-6 },
};
const processor = { min_pixels: 36, max_pixels: 720, patch_size: PATCH, temporal_patch_size: 2, merge_size: 2 };

/** As the first published files are: the language model's keys at the top, M-RoPE as a type of scaling. */
const flat = {
  ...language,
  image_token_id: 18,
  rope_theta: 1e6,
  rope_scaling: { type: "mrope", mrope_section: [1, 0, 2] },
  tie_word_embeddings: false,
  image_processor_cfg: processor,
};
const spec = {
  imageTokenId: 18,
  language: { mrope: { sections: [1, 0, 2], interleaved: false }, ropeTheta: 1e6, headDim: 6 },
};
const rule = { kind: "patches", patch: PATCH, merge: 2, temporal_patch: 2, min_pixels: 36, max_pixels: 720 };
/** transformers' own classes have both parts under `model.`. */
const nested = (name: string) =>
  name.replace(/^model\./, "model.language_model.").replace(/^visual\./, "model.visual.");

const config2 = {
  ...flat,
  architectures: ["Qwen2VLForConditionalGeneration"],
  model_type: "qwen2_vl",
  vision_config: {
    ...vision,
    embed_dim: WIDTH,
    mlp_ratio: 1.25,
    hidden_size: LLM,
    in_chans: 3,
    spatial_patch_size: PATCH,
  },
};
describeArchitecture(qwen2, {
  config: config2,
  spec: {
    ...spec,
    modelType: "qwen2_vl",
    packedVision: { kind: "qwen2_vl", intermediateSize: DEEP },
    visualTokens: rule,
  },
  tensors: {
    ...text,
    ...biases,
    ...kernel,
    ...blocks(at => ({
      ...block(at, true),
      ...linear(`${at}.mlp.fc1`, DEEP, WIDTH),
      ...linear(`${at}.mlp.fc2`, WIDTH, DEEP),
    })),
    ...norm("visual.merger.ln_q", WIDTH),
    ...merger,
  },
  layouts: [nested],
});

const config25 = {
  ...flat,
  architectures: ["Qwen2_5_VLForConditionalGeneration"],
  model_type: "qwen2_5_vl",
  vision_config: {
    ...{ ...vision, hidden_size: WIDTH, intermediate_size: DEEP, out_hidden_size: LLM },
    ...{ window_size: 13, fullatt_block_indexes: [1], tokens_per_second: 2 },
  },
};
describeArchitecture(qwen25, {
  config: config25,
  spec: {
    ...spec,
    modelType: "qwen2_5_vl",
    packedVision: { kind: "qwen2_5_vl", windows: { edge: 2, fullLayers: [1] } },
    visualTokens: { ...rule, window: 12 },
  },
  tensors: {
    ...text,
    ...biases,
    ...kernel,
    ...blocks(at => ({
      ...block(at, false),
      ...linear(`${at}.mlp.gate_proj`, DEEP, WIDTH),
      ...linear(`${at}.mlp.up_proj`, DEEP, WIDTH),
      ...linear(`${at}.mlp.down_proj`, WIDTH, DEEP),
    })),
    ...norm("visual.merger.ln_q", WIDTH, false),
    ...merger,
  },
  layouts: [nested],
});

const config3 = {
  architectures: ["Qwen3VLForConditionalGeneration"],
  model_type: "qwen3_vl",
  image_token_id: 18,
  tie_word_embeddings: false,
  image_processor_cfg: {
    ...processor,
    min_pixels: undefined,
    max_pixels: undefined,
    size: { shortest_edge: 36, longest_edge: 720 },
  },
  text_config: {
    ...{ ...language, model_type: "qwen3_vl_text", head_dim: 6, rope_theta: 1e6 },
    rope_scaling: { rope_type: "default", mrope_section: [1, 1, 1], mrope_interleaved: true },
  },
  vision_config: {
    ...{ ...vision, model_type: "qwen3_vl", hidden_size: WIDTH, intermediate_size: DEEP, out_hidden_size: LLM },
    ...{ num_position_embeddings: 25, deepstack_visual_indexes: [0] },
  },
};
const products = (at: string, wide: number, inner: number, out: number) => ({
  ...linear(`${at}.linear_fc1`, inner, wide),
  ...linear(`${at}.linear_fc2`, out, inner),
});
const own3 = {
  ...text,
  ...norms,
  ...kernel,
  "visual.patch_embed.proj.bias": [WIDTH],
  "visual.pos_embed.weight": [25, WIDTH],
  ...blocks(at => ({ ...block(at, true), ...products(`${at}.mlp`, WIDTH, DEEP, WIDTH) })),
  ...norm("visual.merger.norm", WIDTH),
  ...products("visual.merger", WIDE, WIDE, LLM),
  ...norm("visual.deepstack_merger_list.0.norm", WIDE),
  ...products("visual.deepstack_merger_list.0", WIDE, WIDE, LLM),
};
describeArchitecture(qwen3, {
  config: config3,
  spec: {
    language: { mrope: { sections: [1, 1, 1], interleaved: true }, qkNorm: true, deepstackLevels: 1 },
    packedVision: { kind: "qwen3_vl", tableSide: 5, deepstackLayers: [0] },
    visualTokens: { ...rule, table_side: 5 },
  },
  tensors: Object.fromEntries(Object.entries(own3).map(([name, shape]) => [nested(name), shape])),
  layouts: [
    name => name.replace(/^model\.(language_model|visual)\./, (_, part) => (part === "visual" ? "visual." : "model.")),
  ],
});

describe("a Qwen VL config", () => {
  const of = (config: { readonly vision_config: object }, changes: object) => ({
    ...config,
    vision_config: { ...config.vision_config, ...changes },
  });

  it.each([
    [{ ...config25, rope_scaling: { type: "mrope", mrope_section: [1, 1, 2] } }, /SPC006.*mrope_section is \[1,1,2\]/],
    [
      { ...config25, image_processor_cfg: { ...processor, patch_size: 4 } },
      /SPC005.*patch_size is 4.*vision_config says 3/s,
    ],
    [
      { ...config25, image_processor_cfg: { ...processor, max_pixels: 30 } },
      /SPC006.*max_pixels is 30; expected 36 \(/,
    ],
    [of(config25, { window_size: 5 }), /SPC006.*window_size is 5/],
    [of(config25, { fullatt_block_indexes: [2] }), /SPC006.*fullatt_block_indexes is \[2\]/],
    [of(config25, { out_hidden_size: 20 }), /SPC006.*out_hidden_size is 20.*hidden_size is 24/],
    [of(config2, { hidden_size: 20 }), /SPC006.*vision_config.hidden_size is 20/],
    [of(config2, { num_heads: 8 }), /SPC006.*heads of 2 channels/],
    [of(config3, { num_position_embeddings: 24 }), /SPC006.*num_position_embeddings is 24/],
    [
      of(config3, { depth: 4, deepstack_visual_indexes: [0, 1, 2] }),
      /SPC006.*more entries than the language model's 2 layers/,
    ],
    [of(config3, { model_type: "qwen3_5" }), /SPC004.*vision_config.model_type/],
    [{ ...config3, text_config: { ...config3.text_config, mlp_only_layers: [] } }, /SPC003.*mlp_only_layers/],
  ])("is refused where something does not fit (%#)", (config, message) => {
    expect(() => readModel(config)).toThrow(message);
  });

  it("may have the language model's keys twice, as transformers 4.53 wrote them: the nested ones count", () => {
    const inner = { ...language, model_type: "qwen2_5_vl_text", image_token_id: null, torch_dtype: "float32" };
    const rope = { rope_theta: 1e4, rope_scaling: { type: "default", rope_type: "default", mrope_section: [3, 0, 0] } };
    const { spec: read } = readModel({ ...config25, torch_dtype: "bfloat16", text_config: { ...inner, ...rope } });
    expect(read).toMatchObject({
      declaredDtype: "bfloat16",
      language: { ropeTheta: 1e4, mrope: { sections: [3, 0, 0] } },
    });
  });

  it("may stretch its positions by YaRN, as the model cards say for long prompts", () => {
    const yarn = { type: "yarn", mrope_section: [1, 0, 2], factor: 4, original_max_position_embeddings: 32 };
    const { language: read } = readModel({ ...config25, rope_scaling: yarn }).spec;
    expect(read).toMatchObject({ mrope: { sections: [1, 0, 2] }, ropeScaling: { type: "yarn", factor: 4 } });
  });

  it("keeps all levels of DeepStack on the first pipeline stage", () => {
    const deeper = { ...config3, text_config: { ...config3.text_config, num_hidden_layers: 6 } };
    const model = readModel(of(deeper, { deepstack_visual_indexes: [1, 0] }));
    const split = (ppSize: number) => ({
      ...{ tpSize: 1, ppSize, parallelEmbedding: false, embeddingShardingDim: 0 as const, shareEmbedding: false },
    });
    const origin = (key: string) => `--${key}`;
    expect(dealtOut(model, split(3), origin).parallel.ppSize).toBe(3);
    expect(() => dealtOut(model, split(6), origin)).toThrow(
      /CKP053.*pp_size 6 puts 1 of the layers on the first stage; it must have 2 .*--pp_size 3/,
    );
  });

  it("gives TensorRT-LLM's config the positions of Qwen2-VL", () => {
    const { architecture, spec: read } = readModel(config25);
    const layout = {
      dtype: "float16",
      tpSize: 1,
      ppSize: 1,
      parallelEmbedding: false,
      embeddingShardingDim: 0,
    } as const;
    expect(architecture.checkpointConfig(read, { ...layout, shareEmbedding: false, fromMeta: false })).toMatchObject({
      ...{ architecture: "Qwen2VLForConditionalGeneration", qwen_type: "qwen2_vl", position_embedding_type: "mrope" },
      ...{ rotary_embedding_dim: 6, rotary_scaling: { type: "mrope", mrope_section: [1, 0, 2] } },
    });
  });
});

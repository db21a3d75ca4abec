import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { SizeTerm } from "../../../src/cli/plugins/expression.ts";
import {
  type PluginManifest,
  type PluginTensor,
  pluginSources,
  readManifests,
} from "../../../src/cli/plugins/manifest.ts";
import { DECOMPOSED, MODERN, MODERN_STATIC_CACHE, withCodes } from "../../../src/graph/dialect.ts";
import { addDims, type Dim, multiplyDims } from "../../../src/graph/dim.ts";
import type { Graph, GraphNode, Value } from "../../../src/graph/graph.ts";
import { verifyGraph } from "../../../src/graph/verify.ts";
import { ALL_REDUCE } from "../../../src/layers/fused/all-reduce.ts";
import { BERT_ATTENTION } from "../../../src/layers/fused/bert-attention.ts";
import { FP8_MATMUL } from "../../../src/layers/fused/fp8-matmul.ts";
import { FUSED_GATED_MLP } from "../../../src/layers/fused/fused-gated-mlp.ts";
import { GEMM } from "../../../src/layers/fused/gemm.ts";
import { GPT_ATTENTION, HEAD_DIMS } from "../../../src/layers/fused/gpt-attention.ts";
import { LAYER_NORM } from "../../../src/layers/fused/layer-norm.ts";
import { LORA } from "../../../src/layers/fused/lora.ts";
import { PROMPT_TUNING_EMBEDDING } from "../../../src/layers/fused/prompt-tuning-embedding.ts";
import { RMS_NORM } from "../../../src/layers/fused/rms-norm.ts";
import { SMOOTH_QUANT_MATMUL } from "../../../src/layers/fused/smooth-quant-matmul.ts";
import { WEIGHT_ONLY_MATMUL } from "../../../src/layers/fused/weight-only-matmul.ts";
import type { GraphOptions } from "../../../src/models/architecture.ts";
import { decoderGraph } from "../../../src/models/parts/decoder-graph.ts";
import { encoderDecoderGraph, encoderGraph } from "../../../src/models/parts/encoder-decoder-graph.ts";
import { llamaWeights } from "../../../src/models/parts/llama-weights.ts";
import { loraModules } from "../../../src/models/parts/lora-modules.ts";
import { packedVisualGraph } from "../../../src/models/parts/packed-vit-graph.ts";
import { visualGraph } from "../../../src/models/parts/visual-graph.ts";
import type { DecoderSpec, PackedVisionSpec } from "../../../src/models/spec.ts";
import { LORA_RANK_STEP, type QuantSpec, UNQUANTIZED } from "../../../src/tensor/index.ts";
import { llava, pair } from "../../support/specs.ts";

const MANIFESTS = new Map((await readManifests(pluginSources())).map(manifest => [manifest.name, manifest]));
const OPS = [
  ...[GPT_ATTENTION, BERT_ATTENTION, RMS_NORM, LAYER_NORM, PROMPT_TUNING_EMBEDDING, LORA, ALL_REDUCE],
  ...[WEIGHT_ONLY_MATMUL, SMOOTH_QUANT_MATMUL, FP8_MATMUL, GEMM, FUSED_GATED_MLP],
];
const NAMES = OPS.map(({ name }) => name);

const manifestOf = (name: string): PluginManifest => {
  const found = MANIFESTS.get(name);
  if (found === undefined) throw new Error(`no plugin.yaml for ${name}`);
  return found;
};

const pluginName = (dtype: string): string => (dtype === "float8_e4m3fn" ? "float8" : dtype);

/** What is wrong with a node by its plugin.yaml, in words. */
function wrongWith({ op, inputs, outputs, attributes }: GraphNode): readonly string[] {
  const manifest = manifestOf(op);
  const wrong: string[] = [];
  const sizes = new Map<string, Dim>();
  const types = new Map<string, string>();
  const check = (value: Value, tensor: PluginTensor, shape: readonly Dim[] | undefined): void => {
    const dtype = pluginName(value.dtype);
    const known = tensor.typeName === undefined ? dtype : (types.get(tensor.typeName) ?? dtype);
    if (tensor.typeName !== undefined) types.set(tensor.typeName, known);
    if (!(tensor.dtypes as readonly string[]).includes(dtype) || known !== dtype)
      wrong.push(`${tensor.name} is ${dtype}`);
    if (shape === undefined) return;
    if (JSON.stringify(shape) !== JSON.stringify(value.shape))
      wrong.push(`${tensor.name} is [${value.shape}], not [${shape}]`);
  };
  const ints: Record<string, number> = {};
  for (const { name, type, default: initial, minimum = -Infinity, maximum = Infinity } of manifest.attributes) {
    const given = attributes[name];
    const value =
      given === undefined
        ? initial
        : type === "int"
          ? (given as { int: number }).int
          : (given as { float: number }).float;
    if (value === undefined || !(value >= minimum && value <= maximum)) wrong.push(`${name} is ${value}`);
    if (type === "int") ints[name] = value ?? Number.NaN;
  }
  const known = [...manifest.attributes.map(({ name }) => name), "plugin_namespace", "plugin_version"];
  for (const name of Object.keys(attributes)) if (!known.includes(name)) wrong.push(`no attribute ${name}`);
  if ((attributes.plugin_version as { text: string }).text !== manifest.version) wrong.push("another version");
  for (const [index, tensor] of manifest.inputs.entries()) {
    const value = inputs[index];
    if (value === undefined || (tensor.optional && value.shape.length === 0)) {
      if (!tensor.optional) wrong.push(`${tensor.name} is missing`);
      if (value !== undefined) check(value, tensor, undefined);
      continue;
    }
    check(value, tensor, undefined);
    const own = tensor.leading ? value.shape.slice(value.shape.length - tensor.dims.length) : value.shape;
    if (own.length !== tensor.dims.length) wrong.push(`${tensor.name} has rank ${own.length}`);
    for (const [axis, { terms }] of tensor.dims.entries()) {
      const name = String(terms[0]);
      const seen = own[axis] as Dim;
      if (sizes.has(name) && sizes.get(name) !== seen) wrong.push(`${name} is ${sizes.get(name)} and ${seen}`);
      sizes.set(name, seen);
    }
  }
  if (inputs.length > manifest.inputs.length) wrong.push("too many inputs");
  const sizeOf = ({ op: join, terms }: SizeTerm): Dim => {
    const [a, b] = terms.map(term => (typeof term === "number" ? term : (ints[term] ?? sizes.get(term) ?? `?${term}`)));
    if (join === "+") return addDims(a as Dim, b as Dim);
    return join === "*" ? multiplyDims(a as Dim, b as Dim) : (a as Dim);
  };
  for (const [index, tensor] of manifest.outputs.entries()) {
    const { alias } = tensor;
    const inPlace = alias !== undefined && (alias.when === undefined || ints[alias.when] !== 0);
    const past = manifest.inputs.findIndex(({ name }) => name === alias?.input);
    const first = manifest.inputs[0] as PluginTensor;
    const lead = tensor.leading ? (inputs[0]?.shape.slice(0, inputs[0].shape.length - first.dims.length) ?? []) : [];
    const shape = inPlace ? inputs[past]?.shape : [...lead, ...tensor.dims.map(sizeOf)];
    check(outputs[index] as Value, tensor, shape);
  }
  // Which adapters there are is known when they are read, and they come in ranks that the kernel takes.
  for (const [name, dim] of sizes) if (dim === "lora_rank") sizes.set(name, LORA_RANK_STEP);
  const numbers = { ...ints, ...Object.fromEntries([...sizes].filter(([, dim]) => typeof dim === "number")) };
  for (const { that, names } of manifest.requires) {
    const values = names.map(name => (numbers as Record<string, Dim>)[name]);
    if (values.some(value => value === undefined)) wrong.push(`${that} cannot be told`);
    else if (new Function(...names, `return ${that}`)(...values) !== true) wrong.push(`not ${that}`);
  }
  return wrong;
}

const plain = (change: Partial<DecoderSpec>) => llava({ layers: 2, ...change });
const AWQ: QuantSpec = { ...UNQUANTIZED, quantAlgo: "W4A16_AWQ", groupSize: 32, preQuantScale: true };

/** Sizes that kernels take and odd ones that they do not. */
const SPECS = {
  "LLaMA's sizes": plain({}),
  "grouped heads, a window, biases": plain({ kvHeads: 8, slidingWindow: 19, attentionBias: true }),
  "one key head of 80 channels": plain({ hiddenSize: 400, heads: 5, kvHeads: 1, headDim: 80, intermediateSize: 989 }),
  "heads of 10": plain({ hiddenSize: 30, heads: 3, kvHeads: 3, headDim: 10, intermediateSize: 57, vocabSize: 19 }),
  "learned positions, layer norm": plain({ positions: "learned", norm: "layer", mlp: "plain" }),
} as const;
const CACHES: readonly GraphOptions["kvCache"][] = [
  { type: "continuous" },
  { type: "static", capacity: 77 },
  { type: "paged", tokensPerBlock: 8 },
  { type: "paged", tokensPerBlock: 64 },
];
const FORMS: readonly (QuantSpec | undefined)[] = [
  undefined,
  { ...UNQUANTIZED, quantAlgo: "W8A16", kvCacheQuantAlgo: "INT8" },
  { ...UNQUANTIZED, quantAlgo: "W4A16", excludeModules: [] },
  AWQ,
  { ...AWQ, hasZeroPoint: true, kvCacheQuantAlgo: "FP8" },
  { ...UNQUANTIZED, quantAlgo: "FP8" },
  { ...UNQUANTIZED, quantAlgo: "W8A8_SQ_PER_CHANNEL" },
  { ...UNQUANTIZED, quantAlgo: "W8A8_SQ_PER_TENSOR_PER_TOKEN_PLUGIN" },
];

function* graphs(options: Partial<GraphOptions>): Generator<Graph> {
  for (const spec of Object.values(SPECS))
    for (const kvCache of CACHES)
      for (const quantization of FORMS)
        for (const modern of [true, false]) {
          const { hiddenSize, intermediateSize } = spec.language;
          const grouped = quantization?.quantAlgo === "W4A16_AWQ";
          if (grouped && (hiddenSize % 32 !== 0 || intermediateSize % 32 !== 0)) continue;
          const own = !modern ? DECOMPOSED : kvCache.type === "static" ? MODERN_STATIC_CACHE : MODERN;
          // The cache of an older TensorRT grows or is paged.
          if (!modern && kvCache.type === "static") continue;
          const codes = quantization && { quantization };
          yield decoderGraph(spec, { ...PLAIN, kvCache, dialect: codes ? withCodes(own) : own, ...codes, ...options });
        }
}

const PLAIN: GraphOptions = {
  weightDtype: "float16",
  computeDtype: "float16",
  tpSize: 1,
  ppSize: 1,
  rank: 0,
  kvCache: { type: "continuous" },
  dialect: MODERN,
  promptTable: true,
};

/** Qwen2-VL's encoder, with what a test changes. */
const packed = (change: Partial<PackedVisionSpec>): PackedVisionSpec => ({
  ...{
    kind: "qwen2_vl",
    channels: 3,
    patchSize: 14,
    temporalPatchSize: 2,
    mergeSize: 2,
    hiddenSize: 288,
    layers: 2,
    heads: 6,
  },
  ...{ intermediateSize: 400, activation: "quick_gelu", ropeTheta: 10_000, outputSize: 512 },
  ...change,
});
const DEEP = { kind: "qwen3_vl", tableSide: 5, deepstackLayers: [0] } as const;

/** What a decoder alone has not: encoders of images and text, ranks, adapters. */
function* otherGraphs(options: Partial<GraphOptions>): Generator<Graph> {
  const spec = SPECS["LLaMA's sizes"];
  for (const vision of [{}, { hiddenSize: 1152, heads: 18 }, { hiddenSize: 1152, heads: 32 }])
    yield visualGraph(llava({}, { layers: 2, runLayers: 2, ...vision }), { ...PLAIN, ...options });
  const [mrope, windows] = [
    { sections: [24, 20, 20], interleaved: true },
    { edge: 4, fullLayers: [1] },
  ];
  for (const packedVision of [packed({}), packed({ heads: 24 }), packed({ kind: "qwen2_5_vl", windows }), packed(DEEP)])
    yield packedVisualGraph({ ...spec, packedVision }, { ...PLAIN, ...options });
  yield decoderGraph(plain({ mrope, deepstackLevels: 1, qkNorm: true }), { ...PLAIN, ...options });
  for (const change of [{}, { positions: "relative" }, { headDim: 12, heads: 5, hiddenSize: 60 }] as const)
    yield encoderGraph(pair({ layers: 2, ...change }), { ...PLAIN, ...options });
  for (const ranks of [
    { tpSize: 2, rank: 1 },
    { tpSize: 2, ppSize: 2, rank: 2, parallelEmbedding: 0 },
    { tpSize: 4, rank: 3, parallelEmbedding: 1 },
  ] as const) {
    yield decoderGraph(spec, { ...PLAIN, ...ranks, ...options });
    yield encoderDecoderGraph(pair({ layers: 2 }), { ...PLAIN, ...ranks, ...options });
  }
  const modules = loraModules(spec.language, llamaWeights(spec.language));
  for (const targets of [modules.map(({ name }) => name), ["attn_dense"]] as const)
    yield decoderGraph(spec, { ...PLAIN, lora: { modules, targets }, ...options });
  const odd = SPECS["one key head of 80 channels"];
  const oddModules = loraModules(odd.language, llamaWeights(odd.language));
  yield decoderGraph(odd, { ...PLAIN, lora: { modules: oddModules, targets: ["mlp_h_to_4h", "attn_q"] }, ...options });
}

function* allGraphs(options: Partial<GraphOptions>): Generator<Graph> {
  yield* graphs(options);
  yield* otherGraphs(options);
}

describe("nodes that plugins take", () => {
  it.each(OPS)("have $name's inputs and outputs by plugin.yaml's names, in its order", op => {
    const { inputs, outputs, version } = manifestOf(op.name);
    expect(op.version).toBe(version);
    expect(op.outputs).toEqual(outputs.map(({ name }) => name));
    expect(op.inputs).toEqual(inputs.slice(0, op.inputs.length).map(({ name }) => name));
    expect(inputs.slice(op.inputs.length).every(({ optional }) => optional)).toBe(true);
  });

  it("fit plugin.yaml in types, sizes, attributes and limits, for every cache, format and parser, odd sizes too", () => {
    const seen = new Map<string, number>();
    for (const graph of allGraphs({ plugins: NAMES })) {
      expect(verifyGraph(graph)).toEqual([]);
      for (const node of graph.nodes.filter(({ attributes }) => attributes.plugin_namespace !== undefined)) {
        expect(`${node.name}: ${wrongWith(node).join("; ")}`).toBe(`${node.name}: `);
        seen.set(node.op, (seen.get(node.op) ?? 0) + 1);
      }
    }
    expect([...seen.keys()].sort()).toEqual([...NAMES].sort());
  });

  it("are told apart from wrong ones by that check", () => {
    const [graph] = graphs({ plugins: ["GptAttention"] });
    const node = graph?.nodes.find(({ op }) => op === "GptAttention") as GraphNode;
    expect(wrongWith({ ...node, inputs: node.inputs.toSpliced(1, 1) })).not.toEqual([]);
    expect(wrongWith({ ...node, attributes: { ...node.attributes, window: { int: -1 } } })).toEqual(["window is -1"]);
    expect(wrongWith({ ...node, attributes: { ...node.attributes, num_heads: { int: 3 } } })).not.toEqual([]);
  });

  it("of one name share a body, for parsers know functions by name alone", () => {
    for (const graph of allGraphs({ plugins: NAMES })) {
      const names = graph.functions.map(({ domain, name }) => `${domain}::${name}`);
      expect(new Set(names).size).toBe(names.length);
      for (const { domain, name, nodes, inputs } of graph.functions) {
        const called = nodes.flatMap(node => (node.domain ? [`${node.domain}::${node.op}`] : []));
        expect(names).toEqual(expect.arrayContaining(called));
        expect(new Set(inputs).size, `${domain}::${name}`).toBe(inputs.length);
      }
    }
  });

  it("are none in float32, nor where no plugin is asked for, nor for heads without a kernel", () => {
    const opsOf = (graph: Graph) =>
      graph.nodes.filter(({ attributes }) => attributes.plugin_namespace).map(({ op }) => op);
    for (const graph of graphs({ computeDtype: "float32", weightDtype: "float32", plugins: NAMES }))
      expect(opsOf(graph)).toEqual([]);
    for (const graph of otherGraphs({ computeDtype: "float32", weightDtype: "float32", plugins: NAMES }))
      expect(opsOf(graph).filter(op => op !== ALL_REDUCE.name)).toEqual([]);
    for (const graph of allGraphs({})) expect(opsOf(graph)).toEqual([]);
    const kernel = readFileSync(join(pluginSources(), "plugins/gptAttention/kernel.cu"), "utf8");
    expect(kernel).toContain(`head_dim is not ${HEAD_DIMS.slice(0, -1).join(", ")} or ${HEAD_DIMS.at(-1)}`);
  });
});

import { type Problem, throwIfAny } from "../diagnostics/index.ts";
import type { ModelWeights, RowRange, WeightRule } from "../models/architecture.ts";
import { packedSchemeOf } from "../models/parts/quantization-config.ts";
import type { ModelSpec } from "../models/spec.ts";
import { sliceOutputs, stackOutputs } from "../quantize/packed-codes.ts";
import type { PackedModel } from "../quantize/packed-forms.ts";
import { type CacheScales, takeCacheScales, unpackSource } from "../quantize/packed-source.ts";
import {
  fromStored,
  type HfCheckpoint,
  isPacked,
  moduleOf,
  type PackedLinear,
  type PackedScheme,
  type Plane,
  type StoredTensor,
  transpose,
} from "../tensor/index.ts";
import { canonicalNames } from "./names.ts";
import { asStored } from "./open/as-stored.ts";
import type { Parallel } from "./shard.ts";

/** A quantized source, ready to be mapped like a float one. */
export interface PackedSource extends PackedModel {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Layers outside the decoder's linear ones that are quantized; checkpoints have those in float. */
  readonly notes: readonly Problem[];
}

/** Undefined when config.json has no quantization_config. Errors: CKP092, CKP093, CKP044. */
export async function openPacked(
  source: HfCheckpoint,
  spec: ModelSpec,
  weights: ModelWeights,
  parallel: Parallel,
): Promise<PackedSource | undefined> {
  const scheme = packedSchemeOf(source.config);
  if (scheme === undefined) return undefined;
  const cache = await cacheScalesOf(source.tensors, scheme);
  const unpacked = await unpackSource(cache.tensors, scheme);
  const stored = turnedTensors(unpacked.tensors, spec, weights);
  const { tensors, problems } = canonicalNames(stored, weights.names);
  throwIfAny([...cache.problems, ...unpacked.problems, ...problems]);
  const { modules, plain, taken } = modulesOf(tensors, spec, weights, scheme);
  const cacheScales = scalesByLayer(cache, modules, spec.language.layers);
  throwIfAny([...cacheScales.problems, ...(await prequantProblems(modules))]);
  const others = [...tensors.values()].filter(tensor => isPacked(tensor) && !taken.has(tensor.name));
  const splits = new Set(weights.language.filter(({ split }) => split === "row").map(({ to }) => kindOf(to)));
  return {
    tensors: stored,
    scheme,
    modules,
    plain,
    cacheScales: cacheScales.scales,
    tpSize: parallel.tpSize,
    layersPerStage: spec.language.layers / parallel.ppSize,
    splitsInputs: module => splits.has(kindOf(`${module}.weight`)),
    notes: [...mixedNotes(plain, modules), ...otherNotes(others)],
  };
}

async function cacheScalesOf(tensors: HfCheckpoint["tensors"], scheme: PackedScheme): Promise<CacheScales> {
  return scheme.kvCache === null ? { scales: new Map(), tensors, problems: [] } : takeCacheScales(tensors);
}

/** What follows the layer's number: "mlp.fc.weight". */
function kindOf(name: string): string {
  return name.split(".").slice(3).join(".");
}

/** Where Hugging Face keeps a layer as Conv1D, [in, out], its float weight has to look so. */
function turnedTensors(
  tensors: ReadonlyMap<string, StoredTensor>,
  { language }: ModelSpec,
  weights: ModelWeights,
): ReadonlyMap<string, StoredTensor> {
  const turned = new Set<string>();
  for (const { from, transpose: turns } of weights.language)
    if (turns) for (const { name } of from) for (const one of namesOf(name, language.layers)) turned.add(one);
  if (turned.size === 0) return tensors;
  const { tensors: canonical } = canonicalNames(tensors, weights.names);
  const out = new Map(tensors);
  for (const name of turned) {
    const tensor = canonical.get(name);
    if (tensor === undefined || !isPacked(tensor)) continue;
    const stored = asStored(tensor.name, transpose(fromStored(tensor)), tensor.at);
    out.set(tensor.name, Object.assign(stored, { packed: tensor.packed }));
  }
  return out;
}

function namesOf(name: string, layers: number): string[] {
  return Array.from({ length: layers }, (_, layer) => name.replace("{l}", String(layer)));
}

interface Modules {
  readonly modules: Map<string, readonly PackedLinear[]>;
  readonly plain: readonly string[];
  /** Stored names of the weights whose codes are kept. */
  readonly taken: ReadonlySet<string>;
}

/** The decoder's linear layers under their checkpoint names. A layer of which a part is plain is plain. */
function modulesOf(
  tensors: ReadonlyMap<string, StoredTensor>,
  { language, encoderDecoder }: ModelSpec,
  { language: rules }: ModelWeights,
  scheme: PackedScheme,
): Modules {
  const modules = new Map<string, readonly PackedLinear[]>();
  const plain: string[] = [];
  const taken = new Set<string>();
  // TensorRT-LLM has no quantized encoder-decoders.
  if (encoderDecoder !== undefined) return { modules, plain, taken };
  for (const rule of rules.filter(({ stage }) => stage === "layer"))
    for (let layer = 0; layer < language.layers; layer++) {
      const module = moduleOf(rule.to.replace("{l}", String(layer)));
      if (module === undefined) continue;
      const sources = rule.from.map(({ name }) => tensors.get(name.replace("{l}", String(layer))));
      const parts = partsOf(sources, rule, scheme);
      if (parts === undefined) plain.push(module);
      else {
        modules.set(module, parts);
        for (const source of sources) if (source) taken.add(source.name);
      }
    }
  return { modules, plain, taken };
}

function partsOf(
  sources: readonly (StoredTensor | undefined)[],
  rule: WeightRule,
  { codes }: PackedScheme,
): readonly PackedLinear[] | undefined {
  const linears = sources.flatMap(tensor => (tensor && isPacked(tensor) ? [tensor.packed] : []));
  const [whole] = linears;
  if (whole === undefined || linears.length < sources.length || linears.some(({ kind }) => kind !== codes))
    return undefined;
  // Shapes that do not fit the config are named by the coverage check.
  if (rule.rows && whole.outputs !== rule.from[0]?.shape[0]) return linears;
  const ordered = rule.rows ? withRows(whole, rule.rows) : whole;
  if (rule.cut === undefined) return rule.rows ? [ordered] : linears;
  let start = 0;
  return rule.cut.map(size => {
    const from = start;
    start += size;
    return withRows(ordered, [[from, start]]);
  });
}

/** The outputs of these ranges, in this order. */
function withRows(whole: PackedLinear, ranges: readonly RowRange[]): PackedLinear {
  const pick = (plane: Plane): Plane => stackOutputs(ranges.map(([start, end]) => sliceOutputs(plane, start, end)));
  const { codes, scales, zeros } = whole;
  const outputs = ranges.reduce((sum, [start, end]) => sum + end - start, 0);
  return { ...whole, outputs, codes: pick(codes), scales: pick(scales), ...(zeros && { zeros: pick(zeros) }) };
}

/** q, k and v have one input, which is multiplied once. */
async function prequantProblems(modules: Modules["modules"]): Promise<Problem[]> {
  const problems: Problem[] = [];
  for (const parts of modules.values()) {
    const factors = await Promise.all(
      parts.map(async ({ prequant }) => Buffer.from((await prequant?.readRows(0, 1)) ?? [])),
    );
    const other = factors.findIndex(bytes => !bytes.equals(factors[0] as Buffer));
    if (other < 0) continue;
    problems.push({
      code: "CKP092",
      what: `${parts[0]?.module} and ${parts[other]?.module} have other pre_quant_scales`,
      at: `${parts[other]?.module}.pre_quant_scale`,
      why: "their products have one input, which is multiplied by one of them",
      fix: "convert a checkpoint that was exported with the scales of q, k and v brought together, as ModelOpt does by itself",
    });
  }
  return problems;
}

/** Attention "….layers.3.self_attn" belongs to the layer whose q, k and v are "….layers.3.self_attn.q_proj". */
function scalesByLayer(
  { scales }: CacheScales,
  modules: Modules["modules"],
  layers: number,
): { readonly scales: ReadonlyMap<number, number>; readonly problems: readonly Problem[] } {
  const found = new Map<number, number>();
  for (const [attention, scale] of scales) {
    const layer = /\.(\d{1,6})\.[^.]+$/.exec(attention)?.[1];
    if (layer !== undefined) found.set(Number(layer), scale);
  }
  const lacking = Array.from({ length: layers }, (_, layer) => layer).filter(layer => !found.has(layer));
  if (scales.size === 0 || lacking.length === 0) return { scales: found, problems: [] };
  const [first = 0] = lacking;
  const part = modules.get(`transformer.layers.${first}.attention.qkv`)?.[0]?.module ?? `layer ${first}`;
  return {
    scales: found,
    problems: [
      {
        code: "CKP092",
        what: `${lacking.length} layers have no k_scale and v_scale, the first is layer ${first}`,
        at: part,
        why: "cached keys and values are codes in every layer or in none",
        fix: "add the missing shard, or use the config.json that belongs to these weights",
      },
    ],
  };
}

const MAX_LISTED = 5;

function listed(names: readonly string[]): string {
  const rest = names.length - MAX_LISTED;
  return names.slice(0, MAX_LISTED).join(", ") + (rest > 0 ? ` and ${rest} more` : "");
}

function mixedNotes(plain: readonly string[], { size }: Modules["modules"]): Problem[] {
  if (plain.length === 0 || size === 0) return [];
  return [
    {
      code: "CKP094",
      what: `${plain.length} linear layers are stored in float beside ${size} quantized ones: ${listed(plain)}`,
      at: "config.json: quantization_config",
      why: "the checkpoint has them, or one of the matrices they are made of, in float",
      fix: "nothing, if these are the layers that were left out when the model was quantized",
    },
  ];
}

function otherNotes(others: readonly StoredTensor[]): Problem[] {
  if (others.length === 0) return [];
  return [
    {
      code: "CKP094",
      what: `${others.length} quantized layers are stored in float: ${listed(others.map(({ name }) => name))}`,
      at: "config.json: quantization_config",
      why: "checkpoints have lm_head, embeddings and the image encoder in float, as TensorRT-LLM has them",
      fix: "nothing: the numbers are the same",
    },
  ];
}

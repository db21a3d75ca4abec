import { throwIfAny } from "../diagnostics/index.ts";
import type { ModelWeights, SourceTensor, WeightRule } from "../models/architecture.ts";
import type { DecoderSpec, ModelSpec } from "../models/spec.ts";
import { KeptBytes } from "../quantize/kept.ts";
import type { Quantizer } from "../quantize/quantizer.ts";
import {
  cast,
  concatRows,
  type FloatDtype,
  fromStored,
  isPacked,
  linearForm,
  moduleOf,
  multiplyRows,
  named,
  type PackedPlanes,
  plus,
  rowCount,
  type StoredTensor,
  sliceRows,
  type TensorRecipe,
  transpose,
} from "../tensor/index.ts";
import { Coverage, type CoverageSummary } from "./coverage.ts";
import { canonicalNames } from "./names.ts";
import { type Parallel, shard, shardPacked } from "./shard.ts";

export interface Mapping {
  /** By rank: pp_rank · tp_size + tp_rank. */
  readonly ranks: readonly (readonly TensorRecipe[])[];
  /** The text encoder's; empty where there is none. */
  readonly encoderRanks: readonly (readonly TensorRecipe[])[];
  readonly visual: readonly TensorRecipe[];
  readonly coverage: CoverageSummary;
  /** Stored copies of tied tensors, to be compared before anything is written. */
  readonly copies: readonly { readonly copy: StoredTensor; readonly original: StoredTensor }[];
  /** Stored tensors that are left out if they are zero. */
  readonly zeros: readonly StoredTensor[];
}

/**
 * Every tensor of every rank as a recipe over the stored tensors; reads no tensor bytes.
 * Throws all problems at once: tensors missing, left over, of another shape or dtype. `parallel` was checked before.
 */
export function mapWeights(
  stored: ReadonlyMap<string, StoredTensor>,
  spec: ModelSpec,
  weights: ModelWeights,
  parallel: Parallel,
  dtype: FloatDtype,
  quantizer?: Quantizer,
): Mapping {
  const { tensors, problems } = canonicalNames(stored, weights.names);
  throwIfAny(problems);
  const coverage = new Coverage(tensors);
  const take: Take = (source, constant = 0) => {
    const tensor = coverage.take(source);
    const recipe = tensor && fromStored(tensor);
    return recipe && cast(constant === 0 ? recipe : plus(recipe, constant), dtype);
  };
  const ranks = mapLanguage(spec.language, weights.language, parallel, take, quantizer);
  const encoder = encoderSizes(spec);
  const encoderRanks = encoder && weights.encoder ? mapLanguage(encoder, weights.encoder, parallel, take) : [];
  const visual = weights.visual.flatMap(rule => {
    const recipe = take(rule);
    return recipe ? [named(rule.name, recipe)] : [];
  });
  const copies = (weights.copies ?? []).flatMap(({ name, of }) => {
    const [copy, original] = [tensors.get(name), tensors.get(of)];
    return copy && original ? [{ copy, original }] : [];
  });
  const zeros = [...(weights.zeros ?? []), ...coverage.unused(spareBiases(tensors))].flatMap(
    name => tensors.get(name) ?? [],
  );
  const known = [...copies.map(({ copy }) => copy), ...zeros].map(({ name }) => exactly(name, tensors));
  coverage.ignore([...weights.ignore, ...known]);
  throwIfAny(coverage.problems(spec.language.layers, layerPrefix(weights)));
  return { ranks, encoderRanks, visual, coverage: coverage.summary, copies, zeros };
}

/** GPTQ's tools store a bias of zeros for layers that have none. */
function spareBiases(tensors: ReadonlyMap<string, StoredTensor>): string[] {
  return [...tensors].flatMap(([name, tensor]) => (isPacked(tensor) ? [name.replace(/weight$/, "bias")] : []));
}

function exactly(storedName: string, tensors: ReadonlyMap<string, StoredTensor>): RegExp {
  const canonical = [...tensors].find(([, tensor]) => tensor.name === storedName)?.[0] ?? storedName;
  return new RegExp(`^${canonical.replaceAll(".", "\\.")}$`);
}

/** What stands before the layer's number in the language model's canonical names. */
function layerPrefix({ language }: ModelWeights): string {
  const name = language.find(({ stage }) => stage === "layer")?.from[0]?.name ?? "";
  return name.slice(0, Math.max(0, name.indexOf("{l}")));
}

/** A stored tensor in the checkpoint's dtype, with `constant` added before it is rounded. */
type Take = (source: SourceTensor, constant?: number) => TensorRecipe | undefined;

/** The sizes that tensors of the text encoder are shared out by. */
export function encoderSizes({ language, encoderDecoder }: ModelSpec): DecoderSpec | undefined {
  const encoder = encoderDecoder?.encoder;
  return encoder && { ...language, ...encoder, kvHeads: encoder.heads };
}

/** Bytes of key/value heads kept from one rank to the next: a head of keys and one of values for a few stages at a time. */
const REPEATED = 32 << 20;

/** Rank by rank, layer by layer: close to the order in which checkpoints store their tensors. */
function mapLanguage(
  language: DecoderSpec,
  rules: readonly WeightRule[],
  parallel: Parallel,
  take: Take,
  quantizer?: Quantizer,
): TensorRecipe[][] {
  const { tpSize, ppSize } = parallel;
  const ranks: TensorRecipe[][] = Array.from({ length: tpSize * ppSize }, () => []);
  const perStage = language.layers / ppSize;
  const repeated = new KeptBytes(REPEATED);
  const place = (rule: WeightRule, stage: number, layer?: number): void => {
    if (rule.tied && parallel.shareEmbedding) return;
    const found = partsOf(rule, layer, take);
    if (found === undefined) return;
    const whole = rule.to.replace("{l}", String(layer));
    const parts = layer === undefined ? found : found.map((part, i) => quantizer?.prepare?.(whole, part, i) ?? part);
    // Layers are numbered from 0 in every pipeline stage.
    const to = layer === undefined ? rule.to : rule.to.replace("{l}", String(layer % perStage));
    const codes = quantizer?.packed && codesOf(quantizer, whole, to);
    for (let r = 0; r < tpSize; r++) {
      const recipe = named(to, shard(rule, parts, r, language, parallel, repeated));
      const place = { tpRank: r, tpSize, layer: layer ?? 0, split: rule.split };
      const share = codes && shardPacked(rule, codes, r, language, parallel);
      const stored =
        quantizer && (layer !== undefined || isCoded(quantizer, to)) ? quantizer.store(recipe, place, share) : [recipe];
      ranks[stage * tpSize + r]?.push(...stored);
    }
  };
  const rulesOf = (stage: WeightRule["stage"]): WeightRule[] => rules.filter(rule => rule.stage === stage);
  for (const rule of rulesOf("every")) for (let stage = 0; stage < ppSize; stage++) place(rule, stage);
  for (const rule of rulesOf("first")) place(rule, 0);
  for (let layer = 0; layer < language.layers; layer++) {
    for (const rule of rulesOf("layer")) place(rule, Math.floor(layer / perStage), layer);
  }
  for (const rule of rulesOf("last")) place(rule, ppSize - 1);
  return ranks;
}

/** Whether a tensor outside the layers becomes codes: lm_head's weight, where it was asked for. */
function isCoded({ spec }: Quantizer, name: string): boolean {
  const module = moduleOf(name);
  return module !== undefined && linearForm(spec, module).kind !== "plain";
}

/** Codes of the source for the weight `whole`, unless the files have that layer (there called `to`) plain. */
function codesOf(quantizer: Quantizer, whole: string, to: string): readonly PackedPlanes[] | undefined {
  const [module, local] = [moduleOf(whole), moduleOf(to)];
  if (module === undefined || local === undefined || linearForm(quantizer.spec, local).kind === "plain")
    return undefined;
  return quantizer.packed?.(module);
}

/** What every rank's file must hold, from the spec alone: the same rules run over tensors that are never read. */
export function expectedTensors(
  spec: ModelSpec,
  weights: ModelWeights,
  parallel: Parallel,
  dtype: FloatDtype,
): TensorRecipe[][] {
  return mapLanguage(spec.language, weights.language, parallel, source => unread(source, dtype));
}

/** The same for the text encoder's files; none where there is no text encoder. */
export function expectedEncoderTensors(
  spec: ModelSpec,
  weights: ModelWeights,
  parallel: Parallel,
  dtype: FloatDtype,
): TensorRecipe[][] {
  const encoder = encoderSizes(spec);
  if (encoder === undefined || weights.encoder === undefined) return [];
  return mapLanguage(encoder, weights.encoder, parallel, source => unread(source, dtype));
}

function unread({ name, shape }: SourceTensor, dtype: FloatDtype): TensorRecipe {
  return {
    name,
    dtype,
    shape,
    sources: [name],
    readRows: () => Promise.reject(new Error(`${name} is a shape, not data`)),
  };
}

/** The rule's sources, or undefined when one of them is missing or unusable (which `take` has noted). */
function partsOf(rule: WeightRule, layer: number | undefined, take: Take): TensorRecipe[] | undefined {
  const parts = rule.from.map(source => {
    const { name } = source;
    const recipe = take(
      { ...source, name: layer === undefined ? name : name.replace("{l}", String(layer)) },
      rule.plus,
    );
    const matrix = rule.times && take(rule.times.matrix);
    if (recipe === undefined || (rule.times && matrix === undefined)) return undefined;
    const turned = rule.transpose ? transpose(recipe) : recipe;
    const kept = rule.skipRows ? sliceRows(turned, rule.skipRows, rowCount(turned.shape)) : turned;
    const ordered = rule.rows ? concatRows(rule.rows.map(([start, end]) => sliceRows(kept, start, end))) : kept;
    return matrix ? multiplyRows(ordered, matrix, rule.times?.transposed === true) : ordered;
  });
  if (!parts.every(part => part !== undefined)) return undefined;
  const [whole] = parts;
  return rule.cut && whole ? cutRows(whole, rule.cut) : parts;
}

function cutRows(recipe: TensorRecipe, sizes: readonly number[]): TensorRecipe[] {
  const starts = sizes.map((_, i) => sizes.slice(0, i).reduce((sum, size) => sum + size, 0));
  return sizes.map((size, i) => sliceRows(recipe, starts[i] as number, (starts[i] as number) + size));
}

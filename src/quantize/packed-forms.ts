import type { Problem } from "../diagnostics/index.ts";
import {
  type PackedLinear,
  type PackedScheme,
  type QuantAlgo,
  type QuantSpec,
  UNQUANTIZED,
  type WeightLayout,
} from "../tensor/index.ts";
import type { PackedModules } from "./quantizer.ts";

/** The decoder layers of a quantized source, and how they are to be dealt out. */
export interface PackedModel {
  readonly scheme: PackedScheme;
  readonly modules: PackedModules;
  /** Linear layers whose weights, or some of whose parts, are stored plain. */
  readonly plain: readonly string[];
  /** Layer of the whole model → scale of its cached keys and values; empty where the scheme has none. */
  readonly cacheScales: ReadonlyMap<number, number>;
  readonly tpSize: number;
  readonly layersPerStage: number;
  /** Whether a module's inputs are split over the ranks. */
  splitsInputs(module: string): boolean;
}

/** The form that the source's codes are stored in; without `spec` they are turned back into float weights. */
export interface PackedForm {
  readonly spec?: QuantSpec;
  readonly notes: readonly Problem[];
  readonly problems: readonly Problem[];
}

/** Sizes ONNX Runtime and TensorRT have INT4 kernels for, the largest first. */
const GROUP_SIZES = [128, 64, 32, 16];

const AT = "config.json: quantization_config";

/** The form of the checkpoint that has exactly the source's numbers, or why there is none. */
export function packedForm(model: PackedModel, weightLayout: WeightLayout): PackedForm {
  const { scheme, modules, cacheScales } = model;
  const linears = [...modules.values()].flat();
  const choice = chooseForm(model, linears);
  const base: QuantSpec = {
    ...UNQUANTIZED,
    kvCacheQuantAlgo: cacheScales.size > 0 ? scheme.kvCache : null,
    excludeModules: ["lm_head", ...excluded(model)],
    weightLayout,
  };
  if (choice.problem) return { notes: [], problems: [choice.problem] };
  const notes = choice.note === undefined ? [] : [noteOf(choice.note, choice.algo === null)];
  if (choice.algo === null) return { ...(base.kvCacheQuantAlgo && { spec: base }), notes, problems: [] };
  const grouped = choice.groupSize !== undefined;
  const spec: QuantSpec = {
    ...base,
    quantAlgo: choice.algo,
    groupSize: choice.groupSize ?? UNQUANTIZED.groupSize,
    hasZeroPoint: grouped && linears.some(({ zeros }) => zeros !== undefined),
    preQuantScale: grouped && linears.some(({ prequant }) => prequant !== undefined),
  };
  return { spec, notes, problems: [] };
}

interface Choice {
  /** null: no form has these numbers. */
  readonly algo: QuantAlgo | null;
  readonly groupSize?: number;
  readonly note?: string;
  readonly problem?: Problem;
}

function chooseForm(model: PackedModel, linears: readonly PackedLinear[]): Choice {
  const { codes, activations } = model.scheme;
  if (linears.length === 0) return { algo: null };
  if (codes === "fp8") return chooseFp8(model.scheme, linears);
  const one = linears.every(({ groups, zeros }) => groups === 1 && zeros === undefined);
  if (codes === "int4") {
    const prequant = linears.some(linear => linear.prequant !== undefined);
    const choice = one && !prequant ? { algo: "W4A16" as const } : chooseGroups(model);
    return activations === "float" ? choice : { note: FLOAT_INPUTS, ...choice };
  }
  if (!one) return { algo: null, note: "INT8 weights with several scales or zero points an output have no kernels" };
  if (activations === "token") return { algo: "W8A8_SQ_PER_CHANNEL_PER_TOKEN_PLUGIN" };
  if (activations === "static") return { algo: "W8A8_SQ_PER_CHANNEL_PER_TENSOR_PLUGIN" };
  return { algo: "W8A16", ...(activations === "other" && { note: FLOAT_INPUTS }) };
}

const FLOAT_INPUTS =
  "the inputs of its products become codes in a way no engine has, so they stay float numbers, which is more exact";

function chooseFp8({ activations }: PackedScheme, linears: readonly PackedLinear[]): Choice {
  if (activations !== "static")
    return { algo: null, note: "FP8 products need a stored scale of their inputs, and the checkpoint has none" };
  if (linears.some(({ weightScale }) => weightScale === undefined))
    return { algo: null, note: "FP8 products have one scale for a weight, and the checkpoint has one for each output" };
  return { algo: "FP8" };
}

/** The largest group that lies in one of the source's groups and, where inputs are split over ranks, on one rank. */
function chooseGroups({ scheme, modules, tpSize, splitsInputs }: PackedModel): Choice {
  const algo = scheme.method === "awq" || scheme.method === "modelopt" ? "W4A16_AWQ" : "W4A16_GPTQ";
  let candidates = GROUP_SIZES;
  for (const [module, parts] of modules)
    for (const { inputs, groups } of parts) {
      const share = splitsInputs(module) ? inputs / tpSize : inputs;
      const rest = candidates.filter(size => (inputs / groups) % size === 0 && share % size === 0);
      if (rest.length === 0) return { algo, problem: noGroups(module, inputs, groups, tpSize) };
      candidates = rest;
    }
  const groupSize = candidates[0] as number;
  const same = [...modules.values()].flat().every(({ inputs, groups }) => inputs / groups === groupSize);
  if (same) return { algo, groupSize };
  const from = scheme.groupSize === null ? "of all inputs" : `of ${scheme.groupSize} inputs`;
  return { algo, groupSize, note: `groups ${from} are stored as groups of ${groupSize} with the same scales` };
}

function noGroups(module: string, inputs: number, groups: number, tpSize: number): Problem {
  const layer = module.split(".").slice(3).join(".");
  return {
    code: "CKP083",
    what: `${layer} has ${inputs} inputs in groups of ${inputs / groups}; tp_size ${tpSize} leaves no whole groups of ${GROUP_SIZES.join(", ")} on a rank`,
    at: AT,
    why: "a group has one scale and lies on one rank, and kernels exist for these sizes",
    fix: tpSize > 1 ? "a smaller --tp_size, or --qformat full_prec" : "--qformat full_prec for float weights",
  };
}

function noteOf(reason: string, isFloat: boolean): Problem {
  return {
    code: "CKP094",
    what: isFloat
      ? "the quantized weights are turned back into float numbers"
      : "the quantized weights are stored otherwise",
    at: AT,
    why: reason,
    fix: isFloat
      ? "nothing, or --use_weight_only to quantize them again in a form that engines have"
      : "nothing: the numbers are the same",
  };
}

/**
 * Plain modules by their names in the files, where layers count from 0 in every pipeline stage: a module that is plain in
 * one stage is plain in all. One that is plain in every layer is named without its layer.
 */
function excluded({ plain, modules, layersPerStage }: PackedModel): string[] {
  const local = new Map<string, Set<number>>();
  for (const module of plain) {
    const [, , layer = "", ...rest] = module.split(".");
    const kind = rest.join(".");
    local.set(kind, (local.get(kind) ?? new Set()).add(Number(layer) % layersPerStage));
  }
  const everywhere = (kind: string): boolean => ![...modules.keys()].some(name => name.endsWith(`.${kind}`));
  return [...local].flatMap(([kind, layers]) =>
    everywhere(kind) ? [kind] : [...layers].sort((a, b) => a - b).map(layer => `transformer.layers.${layer}.${kind}`),
  );
}

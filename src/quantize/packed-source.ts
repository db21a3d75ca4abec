import type { Problem } from "../diagnostics/index.ts";
import type { PackedLinear, PackedScheme, PackedTensor, StoredTensor } from "../tensor/index.ts";
import { unpackAwq } from "./awq-source.ts";
import { unpackCompressed } from "./compressed-tensors.ts";
import { unpackGptq } from "./gptq.ts";
import { unpackModelOpt } from "./modelopt.ts";
import { dequantized } from "./packed-codes.ts";
import { missing, PackedModule, scalarOf } from "./packed-module.ts";

/** A quantized checkpoint as if it were a float one. */
export interface UnpackedSource {
  /** Each quantized layer is one float32 tensor `X.weight` that carries its codes; all others are as they were. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly problems: readonly Problem[];
}

interface Method {
  /** Ends of the names that a quantized layer is told by. */
  readonly told: readonly string[];
  unpack(module: PackedModule, scheme: PackedScheme): Promise<PackedLinear | undefined>;
}

const METHODS: Readonly<Record<PackedScheme["method"], Method>> = {
  gptq: { told: [".qweight"], unpack: unpackGptq },
  awq: { told: [".qweight"], unpack: unpackAwq },
  "compressed-tensors": { told: [".weight_packed", ".weight_scale"], unpack: unpackCompressed },
  modelopt: { told: [".weight_scale"], unpack: unpackModelOpt },
};

/** Problems of a damaged checkpoint are alike; the first few tell what is wrong. */
const MAX_PROBLEMS = 20;

/**
 * Reads headers and what is small: orders of inputs, zero points, scales of one value. Layers that are stored plain (the
 * `ignore` of a config) stay so, and tensors that belong to no layer are left for the coverage check of `convert`.
 * Problems: CKP092 tensors that do not fit together, CKP093 another order of inputs.
 */
export async function unpackSource(
  tensors: ReadonlyMap<string, StoredTensor>,
  scheme: PackedScheme,
): Promise<UnpackedSource> {
  const { told, unpack } = METHODS[scheme.method];
  const out = new Map(tensors);
  const problems: Problem[] = [];
  for (const name of modulesOf(tensors, told)) {
    const module = new PackedModule(name, tensors);
    const linear = await unpack(module, scheme);
    problems.push(...module.problems);
    for (const used of module.used) out.delete(used);
    if (linear === undefined || module.problems.length > 0) continue;
    const tensor = weightOf(linear, module, tensors);
    out.set(tensor.name, tensor);
  }
  return { tensors: out, problems: problems.slice(0, MAX_PROBLEMS) };
}

function modulesOf(tensors: ReadonlyMap<string, StoredTensor>, told: readonly string[]): ReadonlySet<string> {
  const modules = new Set<string>();
  for (const name of tensors.keys())
    for (const end of told) if (name.endsWith(end)) modules.add(name.slice(0, -end.length));
  return modules;
}

function weightOf(
  linear: PackedLinear,
  { name, used }: PackedModule,
  tensors: ReadonlyMap<string, StoredTensor>,
): PackedTensor {
  const weight = dequantized(linear);
  const [first = ""] = used;
  return {
    name: `${name}.weight`,
    dtype: "float32",
    shape: [linear.outputs, linear.inputs],
    at: tensors.get(first)?.at ?? first,
    packed: linear,
    readRows: (start, end) => weight.readRows(start, end),
  };
}

/** Scales of cached keys and values: beside the attention (compressed-tensors) or on k_proj and v_proj (ModelOpt). */
const CACHE_SCALE = /^(.*?)\.(?:[kv]_proj\.)?[kv]_scale$/;

export interface CacheScales {
  /** Stored name of the attention ("model.layers.0.self_attn") → the larger scale of its keys and values. */
  readonly scales: ReadonlyMap<string, number>;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly problems: readonly Problem[];
}

/** One scale serves keys and values of a layer in TensorRT-LLM's checkpoints, so the larger counts. */
export async function takeCacheScales(tensors: ReadonlyMap<string, StoredTensor>): Promise<CacheScales> {
  const scales = new Map<string, number>();
  const out = new Map(tensors);
  for (const [name, tensor] of tensors) {
    const attention = CACHE_SCALE.exec(name)?.[1];
    if (attention === undefined) continue;
    out.delete(name);
    const size = tensor.shape.reduce((a, b) => a * b, 1);
    if (size !== 1 || !/^(float32|float16|bfloat16)$/.test(tensor.dtype))
      return { scales, tensors: out, problems: [missing(`${name} of one value`)] };
    scales.set(attention, Math.max(scales.get(attention) ?? 0, await scalarOf(tensor)));
  }
  const problems = scales.size > 0 ? [] : [missing("the k_scale and v_scale of every layer")];
  return { scales, tensors: out, problems };
}

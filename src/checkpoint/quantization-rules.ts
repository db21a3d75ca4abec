import type { Problem } from "../diagnostics/index.ts";
import type { ModelSpec } from "../models/spec.ts";
import { linearForm, moduleOf, type QuantSpec, type TensorType } from "../tensor/index.ts";
import type { Origin } from "./parallel-rules.ts";
import type { QuantizationOptions } from "./quantization-options.ts";

/** Sizes ONNX Runtime and TensorRT have kernels for; others would be dequantized at every call. */
const GROUP_SIZES = [16, 32, 64, 128];

/** What keeps the model from being quantized as asked; empty when it can be. `ranks` are the float tensors. */
export function quantizationProblems(
  options: QuantizationOptions,
  quant: QuantSpec | undefined,
  spec: ModelSpec,
  ranks: readonly (readonly TensorType[])[],
  origin: Origin,
): Problem[] {
  const conflicts = conflictProblems(options, origin);
  if (quant === undefined || conflicts.length > 0) return conflicts;
  if (spec.encoderDecoder !== undefined) return [encoderDecoder(options, origin)];
  const at = origin(askedBy(options));
  return [
    ...unbuilt(options, quant, at),
    ...postNorm(quant, spec, at),
    ...groupProblems(quant, at),
    ...shapeProblems(quant, ranks, at),
  ];
}

/** The option that asked for quantization. */
function askedBy(options: QuantizationOptions): keyof QuantizationOptions {
  if (options.smoothquant !== undefined) return "smoothquant";
  if (options.qformat !== undefined) return "qformat";
  if (options.use_weight_only) return "use_weight_only";
  return options.int8_kv_cache ? "int8_kv_cache" : "fp8_kv_cache";
}

/** Options that contradict each other, whatever the model is. */
export function conflictProblems(options: QuantizationOptions, origin: Origin): Problem[] {
  const problems: Problem[] = [];
  const refuse = (holds: boolean, key: keyof QuantizationOptions, what: string, why: string, fix: string): void => {
    if (holds) problems.push({ code: "CKP081", what, at: origin(key), why, fix });
  };
  const smooth = options.smoothquant !== undefined;
  const int4 = options.weight_only_precision !== "int8";
  const grouped = options.per_group || options.group_size !== undefined;
  const format = options.qformat;
  refuse(
    smooth && options.use_weight_only,
    "smoothquant",
    "smoothquant and use_weight_only are both set",
    "SmoothQuant multiplies INT8 weights by INT8 activations, weight-only multiplies them by float ones; TensorRT-LLM takes weight-only in silence",
    "leave out one of them",
  );
  refuse(
    format !== undefined && (smooth || options.use_weight_only),
    "qformat",
    `qformat ${format} and ${smooth ? "smoothquant" : "use_weight_only"} are both set`,
    "each of them names a format for the same weights",
    "leave out one of them",
  );
  for (const key of ["per_token", "per_channel"] as const)
    refuse(
      options[key] && !smooth && format !== "int8_sq",
      key,
      `${key} is set without smoothquant`,
      "it says how SmoothQuant's INT8 values are scaled",
      `--smoothquant 0.5 --${key}`,
    );
  refuse(
    int4 && !options.use_weight_only && !smooth && format === undefined,
    "weight_only_precision",
    `weight_only_precision ${options.weight_only_precision} is set without use_weight_only`,
    "TensorRT-LLM's converter would leave the weights as they are, in silence",
    `--use_weight_only --weight_only_precision ${options.weight_only_precision}`,
  );
  refuse(
    grouped && format !== "int4_wo" && !(options.use_weight_only && int4),
    options.per_group ? "per_group" : "group_size",
    `${options.per_group ? "per_group" : "group_size"} is set for weights that are not INT4`,
    "only INT4 weights have a scale for each group of inputs; INT8 has one for each output",
    "--use_weight_only --weight_only_precision int4 --group_size 128, or leave it out",
  );
  refuse(
    options.int8_kv_cache && options.fp8_kv_cache,
    "fp8_kv_cache",
    "int8_kv_cache and fp8_kv_cache are both set",
    "keys and values have one element type",
    "leave out one of them",
  );
  refuse(
    options.disable_weight_only_quant_plugin && !(options.use_weight_only && !int4),
    "disable_weight_only_quant_plugin",
    "disable_weight_only_quant_plugin is set for weights that are not weight-only INT8",
    "the engine quantizes float weights itself in that form, which TensorRT has for INT8 alone",
    "--use_weight_only --weight_only_precision int8 --disable_weight_only_quant_plugin, or leave it out",
  );
  refuse(
    options.weight_layout !== "plain" &&
      (options.disable_weight_only_quant_plugin || !(options.use_weight_only || format?.endsWith("_wo"))),
    "weight_layout",
    `weight_layout ${options.weight_layout} is set for weights that have no other layout than plain`,
    "the permutations are those of TensorRT-LLM's weight-only kernels",
    "leave out --weight_layout",
  );
  const calibrated =
    smooth || options.int8_kv_cache || format === "int8_sq" || format === "int4_awq" || format === "fp8";
  for (const key of ["calib_dataset", "calib_size", "act_ranges"] as const)
    refuse(
      options[key] !== undefined && !calibrated,
      key,
      `${key} is set and nothing is calibrated`,
      "ranges of activations are needed by SmoothQuant, INT8 KV caches, AWQ and FP8",
      `leave out --${key}, or add --smoothquant, --int8_kv_cache or --qformat`,
    );
  const packed = options.weight_only_precision === "int4_gptq" || options.weight_only_precision === "int4_awq";
  refuse(
    options.quant_ckpt_path !== undefined && !(options.use_weight_only && packed),
    "quant_ckpt_path",
    "quant_ckpt_path is set without weight_only_precision int4_gptq or int4_awq",
    "its file holds codes of these formats and nothing else",
    "--use_weight_only --weight_only_precision int4_gptq, or leave it out",
  );
  return problems;
}

function encoderDecoder(options: QuantizationOptions, origin: Origin): Problem {
  const key = askedBy(options);
  return {
    code: "CKP080",
    what: `${key} is set for an encoder-decoder`,
    at: origin(key),
    why: "TensorRT-LLM has no quantized encoder-decoders: its converter takes the flag and leaves the weights as they are",
    fix: `leave out --${key}`,
  };
}

function postNorm(quant: QuantSpec, { language }: ModelSpec, at: string): Problem[] {
  if (!quant.quantAlgo?.startsWith("W8A8") || language.postNorm !== true) return [];
  return [
    {
      code: "CKP086",
      what: "SmoothQuant is asked for a model with norms behind attention and MLP",
      at,
      why: "its factors are folded into the norm before a product; here that norm's output is also added to the next layer's",
      fix: "--use_weight_only, or --int8_kv_cache alone",
    },
  ];
}

/** Formats whose codes are made by somebody else, or not at all yet. */
function unbuilt(options: QuantizationOptions, quant: QuantSpec, at: string): Problem[] {
  const foreign = options.weight_only_precision.startsWith("int4_") && options.use_weight_only;
  if (!foreign) return [];
  return [
    {
      code: "CKP084",
      what: `${quant.quantAlgo} cannot be made by this version of convert`,
      at,
      why: "its codes come out of a quantized checkpoint, and no tensor here is called qweight",
      fix: "--use_weight_only --weight_only_precision int8, or int4 with --group_size 128",
    },
  ];
}

function groupProblems(quant: QuantSpec, at: string): Problem[] {
  const grouped = quant.quantAlgo === "W4A16_GPTQ" || quant.quantAlgo === "W4A16_AWQ";
  if (!grouped || GROUP_SIZES.includes(quant.groupSize)) return [];
  return [
    {
      code: "CKP083",
      what: `group_size ${quant.groupSize} is not one of ${GROUP_SIZES.join(", ")}`,
      at,
      why: "the INT4 kernels of ONNX Runtime and TensorRT exist for these sizes",
      fix: `--group_size ${GROUP_SIZES.join(", ")}`,
    },
  ];
}

/** Every rank's shares of a layer have the same shapes, so one layer of each rank is looked at. */
export function shapeProblems(quant: QuantSpec, ranks: readonly (readonly TensorType[])[], at: string): Problem[] {
  const found = new Map<string, Problem>();
  for (const { name, shape } of ranks[0] ?? []) {
    const module = moduleOf(name);
    if (module === undefined) continue;
    const problem = shapeProblem(quant, module, shape as readonly [number, number], at);
    if (problem) found.set(problem.what, problem);
  }
  return [...found.values()];
}

function shapeProblem(
  quant: QuantSpec,
  module: string,
  [n, k]: readonly [number, number],
  at: string,
): Problem | undefined {
  const form = linearForm(quant, module);
  const layer = module.split(".").slice(3).join(".");
  const share = `${layer} is ${k} × ${n} on a rank`;
  if (quant.weightLayout !== "plain" && (k % 64 !== 0 || n % 64 !== 0))
    return {
      code: "CKP082",
      what: `weight_layout ${quant.weightLayout} needs inputs and outputs in multiples of 64; ${share}`,
      at,
      why: "TensorRT-LLM's kernels read 64 × 64 tiles",
      fix: "leave out --weight_layout, or choose another --tp_size",
    };
  const int4 = form.kind === "group" || (form.kind === "channel" && form.bits === 4);
  if (int4 && n % 2 !== 0)
    return {
      code: "CKP082",
      what: `INT4 needs an even number of outputs; ${share}`,
      at,
      why: "two codes of neighbouring outputs share a byte",
      fix: "--weight_only_precision int8, or another --tp_size",
    };
  if (form.kind !== "group" || k % form.size === 0) return undefined;
  const fitting = GROUP_SIZES.filter(size => k % size === 0);
  return {
    code: "CKP083",
    what: `group_size ${form.size} does not divide the inputs of ${layer}: ${share}`,
    at,
    why: "a group has one scale and lies on one rank, so each rank's share of the inputs must be whole groups",
    fix:
      fitting.length > 0
        ? `--group_size ${fitting.join(", ")}`
        : "--weight_only_precision int8, or int4 without groups, or a smaller --tp_size",
  };
}

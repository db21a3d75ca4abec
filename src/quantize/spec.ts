import { QUANT_ALGOS, type QuantAlgo, type QuantSpec, UNQUANTIZED, WEIGHT_LAYOUTS } from "../tensor/index.ts";

/** What a converted checkpoint says of its own quantization, before it is trusted. */
export interface StoredQuantization {
  /** `quantization` of config.json. */
  readonly section: unknown;
  /** `weight_layout` and `float_weights` of mmtrt.json's options. */
  readonly layout: unknown;
  readonly floatWeights: unknown;
}

/** 2^20 input channels: 30 times the widest published layer. */
const MAX_GROUP = 1 << 20;

/**
 * The spec that a checkpoint's config.json and mmtrt.json describe; undefined when nothing is quantized, a text that
 * says what is wrong when it cannot be understood.
 */
export function readQuantSpec({ section, layout, floatWeights }: StoredQuantization): QuantSpec | undefined | string {
  if (section === undefined || section === null) return undefined;
  if (typeof section !== "object" || Array.isArray(section)) return "quantization is not an object";
  const keys = section as Readonly<Record<string, unknown>>;
  const quantAlgo = keys.quant_algo ?? null;
  const cache = keys.kv_cache_quant_algo ?? null;
  if (quantAlgo === null && cache === null) return undefined;
  if (quantAlgo !== null && !isAlgo(quantAlgo)) return `quant_algo is ${JSON.stringify(quantAlgo)}`;
  if (cache !== null && cache !== "INT8" && cache !== "FP8") return `kv_cache_quant_algo is ${JSON.stringify(cache)}`;
  const groupSize = keys.group_size ?? UNQUANTIZED.groupSize;
  if (!Number.isSafeInteger(groupSize) || (groupSize as number) < 1 || (groupSize as number) > MAX_GROUP)
    return `group_size is ${JSON.stringify(groupSize)}`;
  const exclude = keys.exclude_modules ?? UNQUANTIZED.excludeModules;
  if (!Array.isArray(exclude) || exclude.length > 1024 || !exclude.every(name => typeof name === "string"))
    return "exclude_modules is not a list of names";
  const weightLayout = WEIGHT_LAYOUTS.find(name => name === (layout ?? "plain"));
  if (weightLayout === undefined) return `weight_layout is ${JSON.stringify(layout)}`;
  return {
    quantAlgo,
    kvCacheQuantAlgo: cache,
    groupSize: groupSize as number,
    smoothquantVal: typeof keys.smoothquant_val === "number" ? keys.smoothquant_val : null,
    hasZeroPoint: keys.has_zero_point === true,
    preQuantScale: keys.pre_quant_scale === true,
    excludeModules: exclude as readonly string[],
    weightLayout,
    floatWeights: floatWeights === true,
  };
}

function isAlgo(value: unknown): value is QuantAlgo {
  return (QUANT_ALGOS as readonly unknown[]).includes(value);
}

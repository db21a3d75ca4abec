import { fromStored, type PackedLinear, type PackedScheme, reshape } from "../tensor/index.ts";
import { scalesOf } from "./compressed-tensors.ts";
import { unpackOutputPairs } from "./packed-codes.ts";
import type { PackedModule } from "./packed-module.ts";

/**
 * ModelOpt's tensors of one layer with K inputs and N outputs. FP8: weight E4M3 [N, K], weight_scale and input_scale of one
 * value. W4A16_AWQ: weight uint8 [N / 2, K], two outputs to a byte; weight_scale [N, K / g]; pre_quant_scale [K] where it
 * could not be folded into the norm before.
 */
export async function unpackModelOpt(module: PackedModule, scheme: PackedScheme): Promise<PackedLinear | undefined> {
  const weight = module.matrix("weight", scheme.codes === "fp8" ? ["float8_e4m3fn"] : ["uint8"]);
  if (weight === undefined) return undefined;
  const [rows = 0, k = 0] = weight.shape;
  const fp8 = scheme.codes === "fp8";
  const n = fp8 ? rows : rows * 2;
  const group = scheme.groupSize ?? k;
  const groups = Math.ceil(k / group);
  if (groups * group !== k) return module.refuse(weight, `holds ${k} inputs, which are no groups of ${group}`);
  const found = await scalesOf(module, n, groups);
  const inputScale = fp8 ? await module.scalar("input_scale") : undefined;
  const prequant = module.has("pre_quant_scale")
    ? module.sized("pre_quant_scale", ["float16", "bfloat16", "float32"], [[k], [1, k]])
    : undefined;
  if (found === undefined) return undefined;
  return {
    module: module.name,
    kind: scheme.codes,
    outputs: n,
    inputs: k,
    groups,
    codes: { recipe: fp8 ? fromStored(weight) : unpackOutputPairs(fromStored(weight)), turned: false },
    ...found,
    ...(inputScale !== undefined && { inputScale }),
    ...(prequant && { prequant: reshape(fromStored(prequant), [1, k]) }),
  };
}

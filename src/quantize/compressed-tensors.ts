import {
  elementCount,
  fromStored,
  type PackedLinear,
  type PackedScheme,
  type Plane,
  recipeBytes,
  reshape,
  type StoredTensor,
  sliceRows,
  type TensorRecipe,
} from "../tensor/index.ts";
import { inOrder, permuted } from "./gptq.ts";
import { allZero, unpackColumns, unpackRows, widened } from "./packed-codes.ts";
import type { PackedModule } from "./packed-module.ts";

const FLOATS = ["float16", "bfloat16", "float32"] as const;

/**
 * compressed-tensors' tensors of one layer with K inputs, N outputs and G groups. pack-quantized: weight_packed int32
 * [N, K / per], `per` neighbouring inputs to a word, codes plus 2^(bits − 1); weight_zero_point packed alike along its
 * outputs [N / per, G], or plain int8 [N, G]; weight_shape [2]. int- and float-quantized: weight int8 or E4M3 [N, K]. Scales
 * [N, G], [N, 1] or one for all.
 */
export async function unpackCompressed(module: PackedModule, scheme: PackedScheme): Promise<PackedLinear | undefined> {
  const codes = module.has("weight_packed") ? await packedCodes(module, scheme) : plainCodes(module, scheme);
  if (codes === undefined) return undefined;
  const [n = 0, k = 0] = codes.shape;
  const group = scheme.groupSize ?? k;
  const groups = Math.ceil(k / group);
  if (groups * group !== k) {
    module.problems.push({
      code: "CKP092",
      what: `${module.name} has ${k} inputs, which are no groups of ${group}`,
      at: `config.json: quantization_config`,
      why: "every group of inputs has a scale",
      fix: "use the config.json that belongs to these weights",
    });
    return undefined;
  }
  if (module.has("weight_g_idx")) {
    const order = module.of("weight_g_idx", ["int32", "int64"], [k]);
    // Files without an order of their own have −1 throughout.
    if (order && !(await inOrder(order, group)) && !(await allMinusOne(order)))
      module.problems.push(permuted(order, module.name));
  }
  const found = await scalesOf(module, n, groups);
  const zeros = module.has("weight_zero_point") ? await zerosOf(module, scheme, n, groups) : undefined;
  const inputScale = await inputScaleOf(module, scheme);
  if (found === undefined) return undefined;
  return {
    module: module.name,
    kind: scheme.codes,
    outputs: n,
    inputs: k,
    groups,
    codes: { recipe: codes, turned: false },
    ...found,
    ...(zeros && !(await allZero(zeros)) && { zeros: { recipe: zeros, turned: false } }),
    ...(inputScale !== undefined && { inputScale }),
  };
}

/** Inputs that stay float have no use for their scales; those that become codes have them symmetric. */
async function inputScaleOf(module: PackedModule, { activations }: PackedScheme): Promise<number | undefined> {
  if (activations === "other") {
    module.drop("input_scale");
    module.drop("input_zero_point");
  }
  if (activations !== "static") return undefined;
  const zero = module.peek("input_zero_point");
  module.drop("input_zero_point");
  if (zero && !(await allZero(fromStored(zero))))
    return module.refuse(zero, "is not 0, and the inputs are said to be symmetric");
  return module.scalar("input_scale");
}

async function packedCodes(module: PackedModule, { codes }: PackedScheme): Promise<TensorRecipe | undefined> {
  const bits = codes === "int4" ? 4 : 8;
  const words = module.matrix("weight_packed", ["int32"]);
  const shape = module.of("weight_shape", ["int64", "int32"], [2]);
  if (words === undefined || shape === undefined) return undefined;
  const [n = 0, width = 0] = words.shape;
  const [rows = 0, k = 0] = await integersOf(shape);
  if (rows !== n || Math.ceil((k * bits) / 32) !== width)
    return module.refuse(words, `is [${n}, ${width}], and weight_shape says ${rows} outputs and ${k} inputs`);
  return unpackColumns({ words: fromStored(words), bits, offset: -(2 ** (bits - 1)), dtype: "int8" }, k);
}

function plainCodes(module: PackedModule, { codes }: PackedScheme): TensorRecipe | undefined {
  const weight = module.matrix("weight", [codes === "fp8" ? "float8_e4m3fn" : "int8"]);
  return weight && fromStored(weight);
}

/** One scale for all becomes a column of them, so that it is split as the others are. */
export async function scalesOf(
  module: PackedModule,
  n: number,
  groups: number,
): Promise<Pick<PackedLinear, "scales" | "weightScale"> | undefined> {
  const one = await singleScale(module, groups);
  if (one !== undefined) {
    const readRows = async (start: number, end: number): Promise<Uint8Array> =>
      new Uint8Array(new Float32Array(end - start).fill(one.value).buffer);
    const recipe: TensorRecipe = { name: one.name, dtype: "float32", shape: [n, 1], sources: [one.name], readRows };
    return { scales: { recipe, turned: false }, weightScale: one.value };
  }
  const scale = module.sized("weight_scale", FLOATS, groups === 1 ? [[n, 1], [n]] : [[n, groups]]);
  if (scale === undefined) return undefined;
  const plane: Plane = { recipe: reshape(fromStored(scale), [n, groups]), turned: false };
  return { scales: plane };
}

async function singleScale(
  module: PackedModule,
  groups: number,
): Promise<{ readonly name: string; readonly value: number } | undefined> {
  const tensor = module.peek("weight_scale");
  if (tensor === undefined || groups !== 1 || tensor.shape.length > 1 || elementCount(tensor.shape) !== 1)
    return undefined;
  const value = await module.scalar("weight_scale");
  return value === undefined ? undefined : { name: tensor.name, value };
}

async function zerosOf(
  module: PackedModule,
  { codes }: PackedScheme,
  n: number,
  groups: number,
): Promise<TensorRecipe | undefined> {
  const bits = codes === "int4" ? 4 : 8;
  const packed = [Math.ceil((n * bits) / 32), groups];
  const tensor = module.sized("weight_zero_point", ["int32", "int8", "float8_e4m3fn"], [packed, [n, groups], [1], []]);
  if (tensor === undefined) return undefined;
  if (tensor.dtype === "int32") {
    const words = unpackRows(
      { words: fromStored(tensor), bits, offset: -(2 ** (bits - 1)), dtype: "int16" },
      (packed[0] as number) * (32 / bits),
    );
    return sliceRows(words, 0, n);
  }
  if (elementCount(tensor.shape) === n * groups) return reshape(widened(fromStored(tensor)), [n, groups]);
  // Symmetric formats may keep one zero point of 0; another would need a scale of the same kind.
  if (await allZero(fromStored(tensor))) return undefined;
  return module.refuse(tensor, "is one zero point other than 0 for the whole matrix");
}

async function integersOf(tensor: StoredTensor): Promise<readonly number[]> {
  const out: number[] = [];
  const size = tensor.dtype === "int64" ? 8 : 4;
  for await (const bytes of recipeBytes(fromStored(tensor))) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; at < bytes.byteLength; at += size)
      out.push(size === 8 ? Number(view.getBigInt64(at, true)) : view.getInt32(at, true));
  }
  return out;
}

async function allMinusOne(order: StoredTensor): Promise<boolean> {
  for await (const bytes of recipeBytes(fromStored(order))) if (!bytes.every(byte => byte === 255)) return false;
  return true;
}

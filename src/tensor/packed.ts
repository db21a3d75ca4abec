import type { TensorRecipe } from "./recipe.ts";
import type { StoredTensor } from "./stored.ts";

/** What a quantization_config says of weights that somebody else has quantized. */
export interface PackedScheme {
  readonly method: "gptq" | "awq" | "compressed-tensors" | "modelopt";
  readonly codes: "int4" | "int8" | "fp8";
  /** Inputs that share a scale; null: all inputs of an output, or the whole matrix. */
  readonly groupSize: number | null;
  /** What is added to stored zero points: GPTQ's first format keeps them less one. */
  readonly zeroOffset: 0 | 1;
  /** How inputs become codes: not at all, by a stored scale, each token by its own largest value, or in another way. */
  readonly activations: "float" | "static" | "token" | "other";
  readonly kvCache: "INT8" | "FP8" | null;
}

/** A matrix of a linear layer with outputs on axis 0, or turned: with outputs on axis 1, as GPTQ and AWQ store it. */
export interface Plane {
  readonly recipe: TensorRecipe;
  readonly turned: boolean;
}

/** W[n, k] = (codes[n, k] − zeros[n, k / g]) · scales[n, k / g]. */
export interface PackedPlanes {
  /** int8 (of four bits too) or float8_e4m3fn. */
  readonly codes: Plane;
  /** A float dtype; one column where all inputs share a scale. */
  readonly scales: Plane;
  /** int16; absent where every zero point is 0. */
  readonly zeros?: Plane;
}

/** A linear layer of a quantized checkpoint, its codes signed and one an element. */
export interface PackedLinear extends PackedPlanes {
  /** Name before `.weight`, as it is stored. */
  readonly module: string;
  readonly kind: PackedScheme["codes"];
  readonly outputs: number;
  readonly inputs: number;
  /** Scales of an output. */
  readonly groups: number;
  /** The one scale of the whole matrix, of formats that have no more. */
  readonly weightScale?: number;
  /** What inputs are divided by to become codes. */
  readonly inputScale?: number;
  /** float [1, inputs]: what inputs are multiplied by before the product. */
  readonly prequant?: TensorRecipe;
}

/** The float weight that a layer's codes stand for, under the name it would have had. */
export interface PackedTensor extends StoredTensor {
  readonly packed: PackedLinear;
}

export function isPacked(tensor: StoredTensor): tensor is PackedTensor {
  return "packed" in tensor;
}

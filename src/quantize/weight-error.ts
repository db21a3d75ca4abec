import { cast, type LinearForm, type StoredTensor, type TensorRecipe } from "../tensor/index.ts";
import { fromE4m3 } from "./e4m3-values.ts";
import { floatView } from "./lazy.ts";

/** How far the weight that an engine computes with is from the float one. */
export interface WeightError {
  /** Of the two matrices as vectors; 1 when both are zero. */
  readonly cosine: number;
  /** Largest |Ŵ − W| of an element. */
  readonly max_abs: number;
  /** ‖Ŵ − W‖ / ‖W‖ (Frobenius): what a product's output loses, relatively, when its inputs do not correlate. */
  readonly relative: number;
}

/** Float bytes of a band. */
const BAND = 4 << 20;

type Read = (name: string) => StoredTensor;
type Value = (output: number, input: number) => number;

/**
 * Compares `float` [n, k] with the codes that a checkpoint holds for it. `tensor` gives the rank's tensors by what stands
 * behind the module's name, of the shapes that `storedLinear` says. The codes are held in memory, half of the float
 * matrix or less. @returns undefined for forms whose weight is no longer the source's: smoothed ones, and kept floats.
 */
export async function weightError(
  float: TensorRecipe,
  form: LinearForm,
  tensor: Read,
): Promise<WeightError | undefined> {
  const value = await valuesOf(form, tensor, float.shape[0] ?? 0);
  if (value === undefined) return undefined;
  const [rows = 0, columns = 0] = float.shape;
  const band = Math.max(1, Math.floor(BAND / (4 * Math.max(1, columns))));
  const wide = cast(float, "float32");
  let [dot, own, other, distance, most] = [0, 0, 0, 0, 0];
  for (let start = 0; start < rows; start += band) {
    const end = Math.min(rows, start + band);
    const values = floatView(await wide.readRows(start, end));
    for (let i = 0, row = start; row < end; row++) {
      for (let column = 0; column < columns; column++, i++) {
        const w = values[i] as number;
        const q = value(row, column);
        const error = Math.abs(q - w);
        dot += q * w;
        own += w * w;
        other += q * q;
        distance += error * error;
        if (error > most || Number.isNaN(error)) most = error;
      }
    }
  }
  const norm = Math.sqrt(own) * Math.sqrt(other);
  const cosine = norm === 0 ? (own === other ? 1 : 0) : dot / norm;
  return { cosine, max_abs: most, relative: own === 0 ? Math.sqrt(distance) : Math.sqrt(distance / own) };
}

/** The element that the graph's dequantization gives; see `storedLinear` for the layouts. */
async function valuesOf(form: LinearForm, tensor: Read, n: number): Promise<Value | undefined> {
  if (form.kind === "channel" && !form.floatWeights) {
    const code = codesOf(await bytesOf(tensor("weight")), n, form.bits);
    const scale = await floatsOf(tensor("per_channel_scale"));
    return (output, input) => code(output, input) * (scale[output] as number);
  }
  if (form.kind === "group") {
    const code = codesOf(await bytesOf(tensor("weight")), n, 4);
    const scale = await floatsOf(tensor("weights_scaling_factor"));
    const zero = form.zeros ? await floatsOf(tensor("zero")) : undefined;
    const factor = form.prequant ? await floatsOf(tensor("prequant_scaling_factor")) : undefined;
    return (output, input) => {
      const group = Math.floor(input / form.size) * n + output;
      const weight = code(output, input) * (scale[group] as number) + (zero?.[group] ?? 0);
      return weight * (factor?.[input] ?? 1);
    };
  }
  if (form.kind === "fp8") {
    const weight = tensor("weight");
    const bytes = await bytesOf(weight);
    const values = fromE4m3();
    const [scale = 1] = await floatsOf(tensor("weights_scaling_factor"));
    const k = weight.shape[1] ?? 0;
    return (output, input) => (values[bytes[output * k + input] as number] as number) * scale;
  }
  return undefined;
}

/** Codes [k, n], or two of four bits to a byte [k, n / 2], the even output in the low half. */
function codesOf(bytes: Uint8Array, n: number, bits: 8 | 4): Value {
  if (bits === 8) return (output, input) => ((bytes[input * n + output] as number) << 24) >> 24;
  const width = n / 2;
  return (output, input) => {
    const pair = bytes[input * width + (output >> 1)] as number;
    return ((output & 1) === 0 ? pair << 28 : pair << 24) >> 28;
  };
}

function bytesOf(tensor: StoredTensor): Promise<Uint8Array> {
  return tensor.readRows(0, tensor.shape[0] ?? 1);
}

async function floatsOf(tensor: StoredTensor): Promise<Float32Array> {
  const recipe: TensorRecipe = { ...tensor, sources: [tensor.name], readRows: (a, b) => tensor.readRows(a, b) };
  return Float32Array.from(floatView(await cast(recipe, "float32").readRows(0, tensor.shape[0] ?? 1)));
}

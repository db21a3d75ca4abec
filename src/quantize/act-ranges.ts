import type { Problem } from "../diagnostics/index.ts";
import { cast, elementCount, fromStored, isFloatDtype, type StoredTensor } from "../tensor/index.ts";

/** Largest absolute values of one product over the calibration texts. */
export interface LinearRange {
  /** Of each input channel. */
  readonly x: Float32Array;
  /** Of each output, bias included; of q, k and v one after the other. */
  readonly y: Float32Array;
  /** Some rows of its inputs, [n, inputs], where they were kept. */
  readonly rows?: () => Promise<Float32Array>;
}

/** By the product's checkpoint name with the model's layer, "transformer.layers.3.mlp.fc". */
export type ActRanges = ReadonlyMap<string, LinearRange>;

/** Where the ranges of one product stand in a file: as many names as Hugging Face has modules for it. */
export interface RangeSource {
  readonly module: string;
  /** Hugging Face's modules, `model.layers.3.self_attn.q_proj`, `…k_proj`, `…v_proj`, with their numbers of outputs. */
  readonly from: readonly { readonly name: string; readonly outputs: number }[];
  readonly inputs: number;
}

/**
 * The ranges of a file of TensorRT-LLM's form: `<module>.x` [inputs] and `<module>.y` [outputs] for every linear module,
 * and for AWQ's search `<module>.rows`, which `needsRows` asks for.
 * Names may have other words before `layers.` (a language model inside a multimodal one). All that is wrong is in
 * `problems` (CKP085), and then the ranges are not to be used.
 */
export async function readRanges(
  tensors: ReadonlyMap<string, StoredTensor>,
  sources: readonly RangeSource[],
  file: string,
  needsRows = false,
): Promise<{ readonly ranges: ActRanges; readonly problems: readonly Problem[] }> {
  const ranges = new Map<string, LinearRange>();
  const wrong: string[] = [];
  const byTail = new Map([...tensors.values()].map(tensor => [tailOf(tensor.name), tensor]));
  const read = async (name: string, size: number): Promise<Float32Array> => {
    const tensor = tensors.get(name) ?? byTail.get(tailOf(name));
    const reason = tensor === undefined ? "is missing" : misfit(tensor, size);
    if (reason !== undefined || tensor === undefined) {
      wrong.push(`${name} ${reason}`);
      return new Float32Array(size);
    }
    const values = await floatsOf(tensor);
    if (!values.every(value => value >= 0 && Number.isFinite(value)))
      wrong.push(`${name} holds values that are no largest absolute values`);
    return values;
  };
  for (const { module, from, inputs } of sources) {
    const x = await read(`${from[0]?.name}.x`, inputs);
    const parts: Float32Array[] = [];
    for (const { name, outputs } of from) parts.push(await read(`${name}.y`, outputs));
    const rows = rowsOf(`${from[0]?.name}.rows`, inputs, { tensors, byTail });
    if (needsRows && rows === undefined) wrong.push(`${from[0]?.name}.rows is missing`);
    ranges.set(module, { x, y: joined(parts), ...(rows && { rows }) });
  }
  return { ranges, problems: wrong.length === 0 ? [] : [unusable(wrong, file)] };
}

/** Read when they are asked for: 2 MB a layer of a 7 B model. */
function rowsOf(
  name: string,
  inputs: number,
  { tensors, byTail }: Record<"tensors" | "byTail", ReadonlyMap<string, StoredTensor>>,
): LinearRange["rows"] {
  const tensor = tensors.get(name) ?? byTail.get(tailOf(name));
  const fits = tensor?.shape.length === 2 && tensor.shape[1] === inputs && isFloatDtype(tensor.dtype);
  return fits ? () => floatsOf(tensor) : undefined;
}

function misfit({ dtype, shape }: StoredTensor, size: number): string | undefined {
  if (isFloatDtype(dtype) && elementCount(shape) === size) return undefined;
  return `is ${dtype} [${shape}]; expected float32 [${size}]`;
}

/** "layers.3.self_attn.q_proj.x": what is the same whatever the model is part of. */
function tailOf(name: string): string {
  return /(?:^|\.)((?:layers|h)\.\d+\..*)$/.exec(name)?.[1] ?? name;
}

async function floatsOf(tensor: StoredTensor): Promise<Float32Array> {
  const bytes = await cast(fromStored(tensor), "float32").readRows(0, tensor.shape[0] ?? 1);
  return new Float32Array(Uint8Array.from(bytes).buffer);
}

export function joined(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function unusable(wrong: readonly string[], file: string): Problem {
  const more = wrong.length > 3 ? ` and ${wrong.length - 3} more` : "";
  return {
    code: "CKP085",
    what: `${file} does not hold the ranges of this model: ${wrong.slice(0, 3).join("; ")}${more}`,
    at: file,
    why: "every linear layer of the decoder needs the largest values of its inputs and outputs",
    fix: "give the ranges that were measured on this very model, or leave out --act_ranges to measure them",
  };
}

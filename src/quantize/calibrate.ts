import { MmtrtError } from "../diagnostics/index.ts";
import { FilePool } from "../formats/file.ts";
import { openSafetensors, writeSafetensors } from "../formats/safetensors.ts";
import { promptItem } from "../runtime/answer.ts";
import { Assistant } from "../runtime/assistant.ts";
import { type Fetches, type OrtOptions, openGraph, type Tensor, toFloat32 } from "../runtime/ort.ts";
import { placeImages } from "../runtime/prompt.ts";
import type { Session } from "../runtime/session.ts";
import { fromStored, type TensorRecipe } from "../tensor/index.ts";
import { joined, type RangeSource } from "./act-ranges.ts";
import { type CalibrationItem, type CalibrationSample, MAX_TOKENS, sampleOf } from "./calibration-data.ts";
import { floatView, lazyFloats } from "./lazy.ts";
import { type RangeOutput, ROWS_INPUT } from "./range-outputs.ts";

export interface CalibrationRequest {
  /** An engine directory for ONNX Runtime whose decoder is in float. */
  readonly engineDir: string;
  /** The decoder with range outputs, beside its weights. */
  readonly graph: string;
  readonly outputs: readonly RangeOutput[];
  readonly sources: readonly RangeSource[];
  readonly items: readonly CalibrationItem[];
  /** Positions that the model has. */
  readonly maxPositions: number;
  /** Rows of activations kept of each sample; 0 for ranges alone. */
  readonly rows: number;
  /** Of model and texts; a state of another key is not continued. */
  readonly key: string;
  /** Where what was measured so far is kept; the result goes there too. */
  readonly file: string;
  readonly ort: OrtOptions;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

/** What has been seen after `done` samples. */
interface Measured {
  done: number;
  readonly most: Map<string, Float32Array>;
  readonly rows: Map<string, Float32Array[]>;
}

/** Milliseconds between two states on disk: what an interruption costs at most. */
const SAVE_EVERY = 20_000;

/**
 * Runs the samples through the float decoder and keeps the largest |x| and |y| of each linear layer's channels, and with
 * `rows` some rows of x; writes them as TensorRT-LLM's act_range file. An aborted run is continued by the next.
 * Errors: RUN… of the engine, its tokenizer and its images; CKP009.
 */
export async function measure(request: CalibrationRequest): Promise<void> {
  const measured = (await resumed(request)) ?? { done: 0, most: new Map(), rows: new Map() };
  if (measured.done >= request.items.length) return;
  let latest: Fetches = {};
  let rows: Int32Array = Int32Array.of(0);
  const assistant = await Assistant.open(request.engineDir, request.ort, async (_, options) => {
    const graph = await openGraph(request.graph, options);
    const run = async (feeds: Readonly<Record<string, Tensor>>): Promise<Fetches> => {
      const extra = request.rows > 0 ? { [ROWS_INPUT]: graph.tensor("int32", rows, [rows.length]) } : {};
      latest = await graph.run({ ...feeds, ...extra });
      return latest;
    };
    return { ...graph, run };
  });
  try {
    const features = assistant.session.engine.manifest.model.num_visual_features;
    let saved = performance.now();
    for (const item of request.items.slice(measured.done)) {
      request.signal?.throwIfAborted();
      const sample = await sampleOf(assistant, item, Math.min(MAX_TOKENS, request.maxPositions - features));
      const { prompts } = placeImages([promptItem(sample)], assistant.session.engine.manifest.model, "--calib_dataset");
      rows = evenly(request.rows, prompts[0]?.length ?? 0);
      await prefill(assistant, prompts, sample);
      assistant.forgetImages();
      collect(measured, latest, request);
      measured.done += 1;
      request.onProgress?.(measured.done, request.items.length);
      if (performance.now() - saved < SAVE_EVERY) continue;
      await save(measured, request);
      saved = performance.now();
    }
    await save(measured, request);
  } finally {
    if (request.signal?.aborted) await save(measured, request);
    await assistant.close();
  }
}

/** `count` places spread over a text, as many as it has at most. */
function evenly(count: number, length: number): Int32Array {
  const places = Math.min(count, length);
  return Int32Array.from({ length: places }, (_, i) => Math.floor(((i + 0.5) * length) / places));
}

async function prefill(
  { session }: Assistant<Session>,
  prompts: readonly (readonly number[])[],
  { pixels }: CalibrationSample,
): Promise<void> {
  await session.prefill(prompts, pixels.length > 0 ? await session.encodeImages(pixels) : undefined);
}

function collect({ most, rows }: Measured, outputs: Fetches, request: CalibrationRequest): void {
  for (const name of new Set(request.outputs.flatMap(({ x, y }) => [x, y]))) {
    const fresh = toFloat32(outputs[name] as Tensor);
    const known = most.get(name) ?? new Float32Array(fresh.length);
    most.set(
      name,
      known.map((value, i) => Math.max(value, fresh[i] as number)),
    );
  }
  if (request.rows === 0) return;
  for (const name of new Set(request.outputs.map(output => output.rows)))
    rows.set(name, [...(rows.get(name) ?? []), Float32Array.from(toFloat32(outputs[name] as Tensor))]);
}

/** `<module>.x`, `.y` and `.rows` under Hugging Face's names; q, k and v have the same x. */
async function save(measured: Measured, { outputs, sources, file, key, items }: CalibrationRequest): Promise<void> {
  const recipes: TensorRecipe[] = [];
  const add = (name: string, shape: readonly number[], values: Float32Array): void =>
    void recipes.push(lazyFloats(name, shape, [], async () => values));
  for (const { module, x, y, rows } of outputs) {
    const source = sources.find(one => one.module === module);
    if (source === undefined || !measured.most.has(x)) continue;
    const kept = joined(measured.rows.get(rows) ?? []);
    if (kept.length > 0) add(`${source.from[0]?.name}.rows`, [kept.length / source.inputs, source.inputs], kept);
    let start = 0;
    for (const { name, outputs: count } of source.from) {
      add(`${name}.x`, [source.inputs], measured.most.get(x) as Float32Array);
      add(`${name}.y`, [count], (measured.most.get(y) as Float32Array).slice(start, start + count));
      start += count;
    }
  }
  const metadata = { mmtrt_calibration: key, samples: String(measured.done), of: String(items.length) };
  if (recipes.length > 0) await writeSafetensors(file, recipes, { metadata });
}

/** Whether the file is the result of this very calibration. */
export async function isMeasured(file: string, key: string): Promise<boolean> {
  const pool = new FilePool();
  try {
    const { metadata } = await openSafetensors(pool, file);
    return metadata.mmtrt_calibration === key && metadata.samples === metadata.of;
  } catch (error) {
    if (error instanceof MmtrtError) return false;
    throw error;
  } finally {
    await pool.close();
  }
}

/** What an earlier run of the same calibration has left; undefined where there is nothing to continue. */
async function resumed({ file, key, outputs, sources }: CalibrationRequest): Promise<Measured | undefined> {
  const pool = new FilePool();
  try {
    const { tensors, metadata } = await openSafetensors(pool, file);
    const done = Number(metadata.samples);
    if (metadata.mmtrt_calibration !== key || !Number.isSafeInteger(done)) return undefined;
    const read = async (name: string): Promise<Float32Array> => {
      const tensor = tensors.get(name);
      if (tensor === undefined) return new Float32Array(0);
      return Float32Array.from(floatView(await fromStored(tensor).readRows(0, tensor.shape[0] ?? 1)));
    };
    const measured: Measured = { done, most: new Map(), rows: new Map() };
    for (const { module, x, y, rows } of outputs) {
      const from = sources.find(one => one.module === module)?.from ?? [];
      measured.most.set(x, await read(`${from[0]?.name}.x`));
      measured.most.set(y, joined(await Promise.all(from.map(({ name }) => read(`${name}.y`)))));
      if (rows !== "") measured.rows.set(rows, [await read(`${from[0]?.name}.rows`)]);
    }
    return measured;
  } catch (error) {
    // Not there, or cut short by the interruption: measured anew.
    if (error instanceof MmtrtError) return undefined;
    throw error;
  } finally {
    await pool.close();
  }
}

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { NO_QUANTIZATION, type QuantizationOptions } from "../../src/checkpoint/quantization-options.ts";
import { openCheckpoint } from "../../src/checkpoint/read.ts";
import { MmtrtError } from "../../src/diagnostics/index.ts";
import { FilePool } from "../../src/formats/file.ts";
import { openSafetensors, writeSafetensors } from "../../src/formats/safetensors.ts";
import { f16ToF32, linearForm, type QuantSpec, type Shape, type TensorRecipe } from "../../src/tensor/index.ts";
import { convertTo, type Workspace } from "./pipeline.ts";
import { inMemory } from "./tensors.ts";

/** Made by test/reference/make_packed_fixtures.py. */
export const PACKED = new URL("../fixtures/packed/", import.meta.url).pathname;
export const TRAINED = new URL("../fixtures/models/", import.meta.url).pathname;

export type Config = Record<string, unknown>;
export type Tensors = Map<string, TensorRecipe>;

/** A copy of a model directory with its config and tensors changed in place. */
export async function edited(
  work: Workspace,
  dir: string,
  change: (config: Config, tensors: Tensors) => Config | undefined,
): Promise<string> {
  const config = JSON.parse(await readFile(join(dir, "config.json"), "utf8")) as Config;
  const tensors = await readAll(join(dir, "model.safetensors"));
  const changed = change(config, tensors) ?? config;
  const out = await work.dir();
  await writeFile(join(out, "config.json"), JSON.stringify(changed));
  await writeSafetensors(join(out, "model.safetensors"), [...tensors.values()]);
  return out;
}

export async function readAll(file: string): Promise<Tensors> {
  const pool = new FilePool();
  try {
    const { tensors } = await openSafetensors(pool, file);
    const entries = [...tensors.values()].map(async ({ name, dtype, shape, readRows }) => {
      const bytes = Uint8Array.from(await readRows(0, shape[0] ?? 1));
      return [name, inMemory(name, dtype, shape, bytes)] as const;
    });
    return new Map(await Promise.all(entries));
  } finally {
    await pool.close();
  }
}

/** Words whose bits follow no pattern, the same every run: any of them are codes of four or eight bits. */
export function words(name: string, shape: Shape, seed: number): TensorRecipe {
  const count = shape.reduce((a, b) => a * b, 1);
  const values = Int32Array.from({ length: count }, (_, i) =>
    Math.floor(Math.sin(i * 12.9898 + seed * 78.233) * 2 ** 31),
  );
  return inMemory(name, "int32", shape, new Uint8Array(values.buffer));
}

export function halves(name: string, shape: Shape, bits: (i: number) => number): TensorRecipe {
  const count = shape.reduce((a, b) => a * b, 1);
  return inMemory(
    name,
    "float16",
    shape,
    new Uint8Array(Uint16Array.from({ length: count }, (_, i) => bits(i)).buffer),
  );
}

/** Puts codes without a pattern in GPTQ's layout in the place of a float weight [n, k]. */
export function gptqInPlaceOf(
  tensors: Tensors,
  module: string,
  [n, k]: readonly [number, number],
  group: number,
): void {
  tensors.delete(`${module}.weight`);
  const groups = k / group;
  const add = (tensor: TensorRecipe): void => void tensors.set(tensor.name, tensor);
  add(words(`${module}.qweight`, [k / 8, n], n));
  add(words(`${module}.qzeros`, [groups, Math.ceil(n / 8)], n + 1));
  // 0x1c00 … 0x1cff: 2^-8 to 1.25 · 2^-8.
  add(halves(`${module}.scales`, [groups, n], i => 0x1c00 + ((i * 37) & 255)));
}

/** Linear layers of every rank as the float weights [n, k] that their tensors stand for by the table of the forms. */
export async function weightsOf(checkpoint: string): Promise<readonly ReadonlyMap<string, Float32Array>[]> {
  const { ranks, quantization, close } = await openCheckpoint(checkpoint);
  const all = await Promise.all(
    ranks.map(async ({ file }) => {
      const tensors = await readAll(file);
      const modules = [...tensors.keys()].flatMap(name => {
        const module = /^(transformer\.layers\.\d+\.(?:attention\.(?:qkv|dense)|mlp\.\w+))\.weight$/.exec(name)?.[1];
        return module === undefined ? [] : [module];
      });
      const entries = modules.map(async module => {
        const values = async (part: string): Promise<Float32Array | undefined> => {
          const tensor = tensors.get(`${module}.${part}`);
          return tensor && numbersOf(tensor);
        };
        return [
          module,
          await weightOf(linearForm(quantization, module), tensors.get(`${module}.weight`)!, values),
        ] as const;
      });
      return new Map(await Promise.all(entries));
    }),
  );
  await close();
  return all;
}

async function numbersOf({ dtype, shape, readRows }: TensorRecipe): Promise<Float32Array> {
  const { buffer, byteOffset, byteLength } = Uint8Array.from(await readRows(0, shape[0] ?? 1));
  if (dtype === "float32") return new Float32Array(buffer, byteOffset, byteLength / 4);
  if (dtype === "int8") return Float32Array.from(new Int8Array(buffer, byteOffset, byteLength));
  if (dtype !== "float16") throw new Error(`the test reads no ${dtype}`);
  const out = new Float32Array(byteLength / 2);
  f16ToF32(new Uint16Array(buffer, byteOffset, byteLength / 2), out);
  return out;
}

async function weightOf(
  form: ReturnType<typeof linearForm>,
  weight: TensorRecipe,
  values: (part: string) => Promise<Float32Array | undefined>,
): Promise<Float32Array> {
  const stored = (await values("weight"))!;
  if (form.kind === "plain") return stored;
  const four = form.kind === "group" || (form.kind === "channel" && form.bits === 4);
  const [first = 0, second = 0] = weight.shape;
  // int8 [k, n] or [k, n / 2]; of W8A8 [n, k].
  const [k, n] = form.kind === "smooth" ? [second, first] : [first, four ? second * 2 : second];
  const scales = (await values(form.kind === "group" ? "weights_scaling_factor" : "per_channel_scale"))!;
  const [zeros, prequant] = [await values("zero"), await values("prequant_scaling_factor")];
  const out = new Float32Array(n * k);
  for (let row = 0; row < n; row++)
    for (let i = 0; i < k; i++) {
      const at = i * n + row;
      const byte = stored[four ? at >> 1 : form.kind === "smooth" ? row * k + i : at]!;
      const code = four ? (byte << (at % 2 === 0 ? 28 : 24)) >> 28 : byte;
      const group = form.kind === "group" ? Math.floor(i / form.size) * n : 0;
      out[row * k + i] = (code * scales[group + row]! + (zeros?.[group + row] ?? 0)) * (prequant?.[i] ?? 1);
    }
  return out;
}

export const LAYER = "model.layers.0.";
export const GPTQ = { quant_method: "gptq", bits: 4, group_size: 32 };

export function asked(options: Partial<QuantizationOptions>): { quantization: QuantizationOptions } {
  return { quantization: { ...NO_QUANTIZATION, ...options } };
}

/** What a converted checkpoint says of itself, and what was said about its source. */
export async function about(checkpoint: string): Promise<{ spec: QuantSpec | undefined; notes: readonly string[] }> {
  const { quantization, manifest, close } = await openCheckpoint(checkpoint);
  await close();
  const notes = manifest.warnings.filter(({ code }) => code === "CKP094").map(({ what }) => what);
  return { spec: quantization, notes };
}

/** Converts and gives the problems, code first; [] when it went well. */
export async function problemsOf(
  work: Workspace,
  dir: string,
  given: Parameters<typeof convertTo>[3] = {},
): Promise<readonly string[]> {
  try {
    await convertTo(work, dir, "float32", given);
    return [];
  } catch (error) {
    if (!(error instanceof MmtrtError)) throw error;
    return error.problems.map(({ code, what }) => `${code} ${what}`);
  }
}

export async function scalarOf(dir: string, name: string, file = "model"): Promise<number> {
  const bytes = Uint8Array.from(await (await readAll(join(dir, `${file}.safetensors`))).get(name)!.readRows(0, 1));
  return new Float32Array(bytes.buffer)[0]!;
}

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { readOnnx } from "../../src/formats/onnx/read.ts";
import { DTYPES } from "../../src/tensor/index.ts";

export interface Io {
  readonly name: string;
  readonly kind: string;
  readonly dtype: string;
  readonly shape: readonly number[];
}

/** What the driver read back from the engine it had built, as it stands in the kept log. */
export interface Told {
  readonly bytes: number;
  readonly version: string;
  readonly io: { readonly from: string; readonly tensors: readonly Io[] };
  readonly profiles: readonly { readonly shapes: Readonly<Record<string, { readonly max: readonly number[] }>> }[];
  readonly layers: Readonly<Record<string, number>>;
  readonly sms: readonly number[];
  readonly memory_bytes: { readonly weights: number };
}

export function toldOf(dir: string, part: string): Told {
  const lines = readFileSync(join(dir, "logs", `${part.replace("/", ".")}.log`), "utf8").split("\n");
  const events = lines.filter(line => line.startsWith("{")).map(line => JSON.parse(line));
  return events.find(({ event }) => event === "engine");
}

/** The header as TensorRT-RTX writes it: tag, and the whole file's size at 16. */
export function headerOf(file: string): { tag: string; size: number; length: number } {
  const bytes = readFileSync(file);
  return { tag: bytes.toString("latin1", 0, 4), size: Number(bytes.readBigUInt64LE(16)), length: bytes.length };
}

/** Bytes of all initializers, from the ONNX file. */
export async function weightBytes(file: string): Promise<number> {
  const { graph } = await readOnnx(file);
  const bitsOf = (code: number): number => Object.values(DTYPES).find(({ onnx }) => onnx === code)?.bits ?? 0;
  return graph.initializer.reduce(
    (sum, { dims, dataType }) => sum + (dims.reduce((a, b) => a * b, 1) * bitsOf(dataType)) / 8,
    0,
  );
}

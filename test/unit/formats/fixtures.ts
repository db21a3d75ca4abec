import { readFileSync } from "node:fs";
import { copyFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { MmtrtError } from "../../../src/diagnostics/index.ts";
import { rowCount, type StoredTensor } from "../../../src/tensor/index.ts";
import { tempFolder } from "../../support/temp-folder.ts";

export const FIXTURES: string = fileURLToPath(new URL("../../fixtures/formats/", import.meta.url));

interface Expected {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: string;
}

const expected = JSON.parse(readFileSync(join(FIXTURES, "expected.json"), "utf8")) as Record<
  string,
  Record<string, Expected>
>;

/** What PyTorch says is in a fixture, in the form `contents` gives. */
export function expectedOf(fixture: string): Record<string, Expected> {
  return expected[fixture] as Record<string, Expected>;
}

/** Every tensor read in bands of `band` rows, in the form of expected.json. */
export async function contents(
  tensors: ReadonlyMap<string, StoredTensor>,
  band = 1000,
): Promise<Record<string, Expected>> {
  const out: Record<string, Expected> = {};
  for (const [name, tensor] of tensors) {
    const parts: Uint8Array[] = [];
    for (let row = 0; row < rowCount(tensor.shape); row += band) {
      parts.push(await tensor.readRows(row, Math.min(row + band, rowCount(tensor.shape))));
    }
    out[name] = { dtype: tensor.dtype, shape: tensor.shape, bytes: Buffer.concat(parts).toString("base64") };
  }
  return out;
}

/** A directory that is removed when the test file is done. */
export async function tempDir(): Promise<string> {
  return tempFolder("test");
}

/** `name` in `dir` with the given content; gives its path. */
export async function put(dir: string, name: string, content: string | Uint8Array): Promise<string> {
  await writeFile(join(dir, name), content);
  return join(dir, name);
}

export async function copyFixture(fixture: string, dir: string, name: string): Promise<void> {
  await copyFile(join(FIXTURES, fixture), join(dir, name));
}

/** The problems that `action` ends with, as `CODE what (at …)` lines; an error of another kind fails the test. */
export async function problemsOf(action: () => Promise<unknown>): Promise<string> {
  try {
    await action();
  } catch (error) {
    if (error instanceof MmtrtError) return error.problems.map(p => `${p.code} ${p.what} (at ${p.at})`).join("\n");
    throw error;
  }
  throw new Error("no problem was reported");
}

/** A safetensors file by hand: any header over any data. */
export function safetensorsBytes(header: unknown, data: Uint8Array = new Uint8Array(0)): Buffer {
  const text = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.byteLength));
  return Buffer.concat([length, text, data]);
}

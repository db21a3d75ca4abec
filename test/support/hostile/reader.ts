import { copyFile, mkdir, readdir, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { rowBytes, rowCount, type StoredTensor } from "../../../src/tensor/index.ts";
import { buildTo, convertTo, Workspace } from "../pipeline.ts";
import { ROOT } from "../sources.ts";
import type { Form } from "./edits.ts";

/** One way into mmtrt for somebody else's bytes. */
export interface Reader {
  readonly name: string;
  readonly form: Form;
  /** Lays out a whole input in an empty directory and names the file of it that is damaged. */
  prepare(dir: string, shared: SharedInputs): Promise<string>;
  /** Reads all of it as the commands do. Only a MmtrtError may come out. */
  read(dir: string): Promise<unknown>;
  /** What must hold of a damaged input that was read all the same; throws where it does not. */
  accept?(damaged: Buffer, read: unknown): void;
}

/** Inputs that take seconds to make: a converted checkpoint and an engine directory of a tiny LLaVA. */
export class SharedInputs {
  readonly #work = new Workspace();
  #checkpoint: Promise<string> | undefined;
  #engine: Promise<string> | undefined;

  checkpoint(): Promise<string> {
    this.#checkpoint ??= convertTo(this.#work, parity("llava_mqa"));
    return this.#checkpoint;
  }

  engine(): Promise<string> {
    const limits = { max_batch_size: 1, max_input_len: 64, max_seq_len: 96 };
    this.#engine ??= this.checkpoint().then(checkpoint => buildTo(this.#work, checkpoint, limits));
    return this.#engine;
  }

  clean(): Promise<void> {
    return this.#work.clean();
  }
}

export function fixture(name: string): string {
  return join(ROOT, "test/fixtures", name);
}

export function parity(name: string): string {
  return fixture(join("parity", name));
}

/** Copies the files into `dir`; the first of them is damaged. */
export function copied(...files: readonly string[]): Reader["prepare"] {
  return async dir => {
    for (const file of files) await copyFile(file, join(dir, basename(file)));
    return basename(files[0] as string);
  };
}

/** Copies a directory, less what no reader of `target` looks at; `target` is damaged. */
export function directory(source: (shared: SharedInputs) => Promise<string>, target: string): Reader["prepare"] {
  return async (dir, shared) => {
    const from = await source(shared);
    for (const name of await readdir(from, { recursive: true, withFileTypes: true })) {
      if (!name.isFile() || /^(reference|verify|weights)\./.test(name.name)) continue;
      const to = join(dir, name.parentPath.slice(from.length), name.name);
      await mkdir(dirname(to), { recursive: true });
      await copyFile(join(name.parentPath, name.name), to);
    }
    return target;
  };
}

/** A zip archive as torch writes it when it is told not to compute checksums: what is inside is then looked at. */
export function withoutChecksums(archive: Buffer): Buffer {
  const copy = Buffer.from(archive);
  for (let at = copy.indexOf("PK\x01\x02"); at >= 0; at = copy.indexOf("PK\x01\x02", at + 1))
    copy.fill(0, at + 16, at + 20);
  return copy;
}

export function written(name: string, text: string | Uint8Array): Reader["prepare"] {
  return async dir => {
    await writeFile(join(dir, name), text);
    return name;
  };
}

/** Reads each tensor in two halves: as many bytes as its shape says, whatever the header had been. */
export async function readWhole(tensors: ReadonlyMap<string, StoredTensor>): Promise<void> {
  for (const { name, dtype, shape, readRows } of tensors.values()) {
    const rows = rowCount(shape);
    const middle = Math.floor(rows / 2);
    const bytes = (await readRows(0, middle)).byteLength + (await readRows(middle, rows)).byteLength;
    if (bytes !== rows * rowBytes(dtype, shape))
      throw new Error(`${name} [${shape.join(", ")}] of ${dtype} gave ${bytes} bytes`);
  }
}

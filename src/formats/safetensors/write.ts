import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { fail, MmtrtError, type Problem } from "../../diagnostics/index.ts";
import { byteLength, DTYPES, recipeBytes, showShape, type TensorRecipe } from "../../tensor/index.ts";
import { bufferOf, FilePool } from "../file.ts";
import { Copier, PIECE, type Sink } from "./copy.ts";
import { encodeHeader, type TensorEntry } from "./header.ts";
import { SyncingWriter, syncDirectory } from "./syncing-writer.ts";

export interface WriteOptions {
  readonly metadata?: Readonly<Record<string, string>>;
  /** Aborting rejects with the signal's reason and leaves no file. */
  readonly signal?: AbortSignal;
  /** Called with the bytes of tensors written since the last call. */
  readonly onProgress?: (bytes: number) => void;
  /** Most bytes of a computed tensor at once; two or three such bands are alive. */
  readonly bandBytes?: number;
  /** Memory that file ranges are copied through, about a megabyte; for an `inspect` that looks faster at its own. */
  readonly scratch?: Uint8Array;
  /** Sees every chunk on its way, in order (for a count of NaNs); the memory is reused after it returns. */
  readonly inspect?: (recipe: TensorRecipe, chunk: Uint8Array, path: string) => void;
}

export interface FileToWrite {
  readonly path: string;
  readonly recipes: readonly TensorRecipe[];
}

export interface WrittenFile {
  readonly bytes: number;
  readonly entries: ReadonlyMap<string, TensorEntry>;
}

/** Bytes of a computed tensor at once. */
const BAND = 8 << 20;

/** One file; see `writeTogether`. */
export async function writeSafetensors(
  path: string,
  recipes: readonly TensorRecipe[],
  options: WriteOptions = {},
): Promise<WrittenFile> {
  const [written] = await writeTogether([{ path, recipes }], options);
  return written as WrittenFile;
}

/**
 * Streams the recipes into their files, headers first, so memory stays at a few bands whatever the size. The files
 * advance tensor by tensor: what the n-th tensors of several ranks share is read and computed once for all of them.
 * Each is written to `path.partial` and synced; when all are complete they are renamed. Nothing is left on failure.
 * Wider dtypes come first (each group in the order given), which keeps every tensor aligned to its element; `late` ones
 * last where they are aligned there too.
 * Errors: CKP007 a recipe gives another number of bytes than its shape needs; CKP009 cannot write; those of the sources.
 */
export async function writeTogether(files: readonly FileToWrite[], options: WriteOptions = {}): Promise<WrittenFile[]> {
  const drafts = files.map(({ path, recipes }) => draft(path, recipes, options.metadata));
  let writing = drafts[0]?.path ?? "";
  try {
    const bytes = await writeAside(drafts, options);
    for (const { path, partial } of drafts) {
      writing = path;
      await rename(partial, path);
    }
    for (const dir of new Set(drafts.map(({ path }) => dirname(path)))) await syncDirectory(dir);
    return drafts.map(({ entries }, i) => ({ bytes: bytes[i] as number, entries }));
  } catch (error) {
    for (const { partial } of drafts) await rm(partial, { force: true }).catch(() => undefined);
    throw asWriteProblem(writing, error);
  }
}

interface Draft {
  readonly path: string;
  readonly partial: string;
  readonly recipes: readonly TensorRecipe[];
  readonly header: Uint8Array;
  readonly entries: ReadonlyMap<string, TensorEntry>;
}

function draft(path: string, recipes: readonly TensorRecipe[], metadata: WriteOptions["metadata"]): Draft {
  const ordered = inOrder(recipes);
  return { path, partial: `${path}.partial`, recipes: ordered, ...encodeHeader(ordered, metadata) };
}

/** The order of a file's tensors: wider dtypes first, `late` ones last where they are aligned there. */
export function inOrder<T extends Pick<TensorRecipe, "dtype" | "shape" | "late">>(recipes: readonly T[]): T[] {
  const byWidth = [...recipes].sort((a, b) => DTYPES[b.dtype].bits - DTYPES[a.dtype].bits);
  const late = byWidth.filter(recipe => recipe.late);
  const others = byWidth.filter(recipe => !recipe.late);
  const before = others.reduce((sum, { dtype, shape }) => sum + byteLength(dtype, shape), 0);
  const widest = Math.max(0, ...late.map(({ dtype }) => DTYPES[dtype].bits / 8));
  return widest > 0 && before % widest === 0 ? [...others, ...late] : byWidth;
}

/** One rank's part of a step: its tensor and where its chunks go. */
interface Target {
  readonly recipe: TensorRecipe;
  readonly writer: SyncingWriter;
  readonly pass: Sink;
}

async function writeAside(drafts: readonly Draft[], options: WriteOptions): Promise<number[]> {
  options.signal?.throwIfAborted();
  const pool = new FilePool();
  const copier = new Copier(pool, options.scratch ?? bufferOf(PIECE));
  const writers: SyncingWriter[] = [];
  try {
    for (const { partial } of drafts) writers.push(new SyncingWriter(await open(partial, "w")));
    for (const [i, writer] of writers.entries()) await writer.write((drafts[i] as Draft).header);
    const steps = Math.max(0, ...drafts.map(({ recipes }) => recipes.length));
    for (let step = 0; step < steps; step++) {
      const targets = drafts.flatMap(({ path, recipes }, i) => {
        const [recipe, writer] = [recipes[step], writers[i]];
        return recipe && writer ? [{ recipe, writer, pass: passOf(recipe, path, options) }] : [];
      });
      await writeStep(targets, copier, options.bandBytes ?? BAND);
    }
    for (const writer of writers) await writer.finish();
    return writers.map(({ bytes }) => bytes);
  } finally {
    for (const writer of writers) await writer.close();
    await pool.close();
  }
}

function passOf(recipe: TensorRecipe, path: string, { inspect, onProgress, signal }: WriteOptions): Sink {
  return chunk => {
    inspect?.(recipe, chunk, path);
    onProgress?.(chunk.byteLength);
    signal?.throwIfAborted();
  };
}

async function writeStep(targets: readonly Target[], copier: Copier, bandBytes: number): Promise<void> {
  const begun = targets.map(({ writer }) => writer.bytes);
  for (const group of sharing(targets)) await writeShared(group, copier, bandBytes);
  for (const { recipe } of targets) recipe.release?.();
  for (const [i, { recipe, writer }] of targets.entries()) {
    const written = writer.bytes - (begun[i] as number);
    if (written !== byteLength(recipe.dtype, recipe.shape)) fail(sizeMismatch(recipe, written));
  }
}

/** The targets in groups that need the same source: one tensor whole, or columns of one. */
function sharing(targets: readonly Target[]): Target[][] {
  const groups = new Map<TensorRecipe["readRows"], Target[]>();
  for (const target of targets) {
    const source = (target.recipe.columns?.of ?? target.recipe).readRows;
    groups.set(source, [...(groups.get(source) ?? []), target]);
  }
  return [...groups.values()];
}

async function writeShared(targets: readonly Target[], copier: Copier, bandBytes: number): Promise<void> {
  const [{ recipe }] = targets as readonly [Target];
  const sinks = targets.map(({ writer, pass }) => (chunk: Uint8Array) => {
    writer.writeHere(chunk);
    pass(chunk);
  });
  if (recipe.columns) {
    const ranks = targets.flatMap(({ recipe: { columns } }, i) =>
      columns ? [{ columns, sink: sinks[i] as Sink }] : [],
    );
    await copier.columns(recipe.columns.of, ranks);
  } else if (recipe.ranges) {
    await copier.ranges(recipe.ranges, chunk => {
      for (const sink of sinks) sink(chunk);
    });
  } else await writeBands(targets, bandBytes);
}

async function writeBands(targets: readonly Target[], bandBytes: number): Promise<void> {
  const [{ recipe }] = targets as readonly [Target];
  for await (const chunk of oneAhead(recipeBytes(recipe, bandBytes))) {
    for (const { writer, pass } of targets) {
      await writer.write(chunk);
      pass(chunk);
    }
  }
}

/** Asks `source` for the next item before the present one is used, so that reading overlaps with writing. */
async function* oneAhead<T>(source: AsyncGenerator<T, void>): AsyncGenerator<T> {
  let next = source.next();
  try {
    for (let result = await next; !result.done; result = await next) {
      next = source.next();
      // Thrown where it is awaited; unhandled until then it would end the process.
      next.catch(() => undefined);
      yield result.value;
    }
  } finally {
    // A read still in flight must end before its buffer and file go.
    await next.catch(() => undefined);
  }
}

function sizeMismatch(recipe: TensorRecipe, written: number): Problem {
  return {
    code: "CKP007",
    what: `tensor ${recipe.name} gave ${written} bytes; ${recipe.dtype} ${showShape(recipe.shape)} needs ${byteLength(recipe.dtype, recipe.shape)}`,
    at: recipe.sources.length > 0 ? `${recipe.name}, made from ${recipe.sources.join(", ")}` : recipe.name,
    why: "a tensor of another length would shift all that follow it in the file",
    fix: "check that the source files are complete; if they are, please report this as a bug",
  };
}

function asWriteProblem(path: string, error: unknown): unknown {
  if (error instanceof MmtrtError || !(error instanceof Error) || !("syscall" in error)) return error;
  const problem: Problem = {
    code: "CKP009",
    what: `${path} cannot be written: ${error.message}`,
    at: path,
    why:
      "code" in error && error.code === "ENOSPC"
        ? "the disk is full"
        : "the operating system refused to create or write the file",
    fix: "free space, or choose an existing directory you may write to",
  };
  return new MmtrtError([problem], { cause: error });
}

import { mkdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { throwIfAny } from "../diagnostics/index.ts";
import { writeTogether } from "../formats/safetensors.ts";
import { seesImages } from "../models/spec.ts";
import { OrScanner } from "../tensor/index.ts";
import { copyExtra, needSpace, writeJson, writeText } from "./files.ts";
import type { FileHashes } from "./hash.ts";
import {
  type CheckpointManifest,
  CONFIG_FILE,
  ENCODER_DIR,
  HF_CONFIG_FILE,
  languageDir,
  MANIFEST_FILE,
  type NonFinite,
  TOKENIZER_DIR,
  VISUAL_DIR,
} from "./manifest.ts";
import { NonFiniteCounter, nonFiniteProblems } from "./non-finite.ts";
import type { OutputDir } from "./output-dir.ts";
import { bytesOf, type ConvertRequest, type Job, type Plan } from "./plan.ts";
import { recordFiles } from "./source.ts";
import { visualConfig } from "./visual-config.ts";

/** Writes every file that no earlier run has finished, then gives the directory its name. Errors: CKP007, CKP009, CKP048. */
export async function writeAll(
  plan: Plan,
  request: ConvertRequest,
  output: OutputDir,
  hashes: FileHashes | undefined,
): Promise<{ some: boolean; nonFinite: NonFinite[] }> {
  const { jobs } = plan;
  const found = new Map<Job, readonly NonFinite[]>();
  for (const job of jobs) {
    const earlier = await output.finished(job.file);
    if (earlier) found.set(job, earlier);
  }
  const some = found.size > 0;
  const total = jobs.reduce((sum, job) => sum + bytesOf(job), 0);
  let done = [...found.keys()].reduce((sum, job) => sum + bytesOf(job), 0);
  await needSpace(output.stage, total - done);
  const advance = (bytes: number): void => {
    done += bytes;
    request.onProgress?.({ event: "progress", id: "convert", label: "writing weights", done, total, unit: "B" });
  };
  advance(0);
  const groups = plan.groups.map(group => group.filter(job => !found.has(job))).filter(group => group.length > 0);
  await inParallel(
    groups,
    request.workers,
    async (group, signal) => {
      const counts = await writeGroup(group, request, output, signal, advance);
      for (const [i, job] of group.entries()) found.set(job, counts[i] ?? []);
    },
    request.signal,
  );
  const nonFinite = jobs.flatMap(job => found.get(job) ?? []);
  await writeRest(plan, request, output, nonFinite, await hashes?.result);
  throwIfAny(await plan.source.changed());
  request.signal?.throwIfAborted();
  await output.publish();
  return { some, nonFinite };
}

/** Bytes of all bands together, so that memory stays the same however many files are written at a time; small enough for a core's cache. */
const BANDS = 2 << 20;
/** Chunks of this size stay in a core's cache between the copy and the look at them. */
const SCRATCH = 1 << 20;
/** Below this system calls cost more than the bytes they move. */
const MIN_BAND = 256 << 10;

/** The files of one pipeline stage's ranks side by side: what they share of a tensor is read once. */
async function writeGroup(
  jobs: readonly Job[],
  request: ConvertRequest,
  output: OutputDir,
  signal: AbortSignal,
  advance: (bytes: number) => void,
): Promise<NonFinite[][]> {
  const scanner = new OrScanner(SCRATCH);
  const files = jobs.map(({ file, recipes }) => ({ file, path: join(output.stage, file), recipes }));
  const counters = new Map(files.map(({ file, path }) => [path, new NonFiniteCounter(file, scanner)]));
  for (const { path } of files) await mkdir(dirname(path), { recursive: true });
  await writeTogether(files, {
    signal,
    onProgress: advance,
    inspect: (recipe, chunk, path) => counters.get(path)?.inspect(recipe, chunk),
    scratch: scanner.buffer,
    bandBytes: Math.max(MIN_BAND, Math.floor(BANDS / request.workers)),
  });
  const found = [...counters.values()].map(counter => counter.found);
  if (request.strict) throwIfAny(nonFiniteProblems(found.flat()));
  for (const [i, { file }] of files.entries()) await output.finish(file, found[i] ?? []);
  return found;
}

/** Runs `work` on up to `limit` items at a time; the first failure stops the others before it is thrown. */
async function inParallel<T>(
  items: readonly T[],
  limit: number,
  work: (item: T, signal: AbortSignal) => Promise<void>,
  outer?: AbortSignal,
): Promise<void> {
  const failure = new AbortController();
  const signal = outer ? AbortSignal.any([outer, failure.signal]) : failure.signal;
  const errors: unknown[] = [];
  const queue = [...items];
  const worker = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined && !signal.aborted; item = queue.shift()) {
      await work(item, signal).catch((error: unknown) => {
        errors.push(error);
        failure.abort();
      });
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
  if (errors.length > 0) throw errors[0];
  outer?.throwIfAborted();
}

async function writeRest(
  plan: Plan,
  request: ConvertRequest,
  output: OutputDir,
  nonFinite: NonFinite[],
  hashes?: ReadonlyMap<string, string>,
): Promise<void> {
  const { source, model, settings } = plan;
  const at = (...names: string[]): string => join(output.stage, ...names);
  await mkdir(at(TOKENIZER_DIR), { recursive: true });
  for (const name of source.extraFiles) await copyExtra(join(source.dir, name), at(TOKENIZER_DIR, basename(name)));
  for (const [name, text] of source.generatedFiles) await writeText(at(TOKENIZER_DIR, basename(name)), text);
  if (seesImages(model.spec)) await writeJson(at(VISUAL_DIR, CONFIG_FILE), visualConfig(model.spec, settings.dtype));
  await writeJson(at(HF_CONFIG_FILE), source.config);
  const layout = {
    ...plan.parallel,
    dtype: settings.dtype,
    fromMeta: source.format === "meta",
    ...(plan.quantization && { quantization: plan.quantization }),
  };
  const { architecture, spec } = model;
  await writeJson(at(languageDir(spec), CONFIG_FILE), architecture.checkpointConfig(spec, layout));
  if (architecture.encoderConfig && spec.encoderDecoder?.encoder)
    await writeJson(at(ENCODER_DIR, CONFIG_FILE), architecture.encoderConfig(spec, layout));
  const manifest: CheckpointManifest = {
    kind: "checkpoint",
    format: 1,
    version: request.version,
    fingerprint: plan.fingerprint,
    architecture: model.spec.architecture,
    source: {
      format: source.format,
      files: await recordFiles(source, hashes),
      ...(request.hub && request.hub.length > 0 && { hub: request.hub }),
    },
    options: settings,
    files: await output.sizes(plan.jobs.map(({ file }) => file)),
    coverage: plan.mapping.coverage,
    non_finite: nonFinite,
    warnings: plan.warnings,
  };
  await writeJson(at(MANIFEST_FILE), manifest);
}

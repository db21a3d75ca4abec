import type { JsonObject } from "../../formats/json.ts";
import type { OptionTable, OptionValue } from "../../options/define.ts";
import type { EngineRequest } from "../../toolchain/tensorrt/request.ts";
import { type StepKey, stepKey } from "../cache/store.ts";
import type { BuilderAtHand } from "../find-builder.ts";
import { shapingPart } from "../tensorrt.ts";
import type { Cell, CellCommand } from "./cell.ts";
import { CELL_OPTIONS } from "./options.ts";

/** Bumped when a step writes other bytes, or other facts, for the same inputs. */
const STEP_VERSIONS = { convert: 1, plan: 2, graph: 1, engine: 1, cell: 1 } as const;

/** SHA-256 of files by their path in a source, `""` for a source that is a single file. */
export type SourceHashes = Readonly<Record<string, string>>;

/** Options that say where or how long, and nothing about the result. */
const NOT_SHAPING: ReadonlySet<string> = new Set(["strict", "timing_cache", "time_limit", "builder"]);

export function convertKey(cell: Cell, version: string, sources: Readonly<Record<string, SourceHashes>>): StepKey {
  const options = shaping("convert", cell);
  return stepKey("convert", { step: STEP_VERSIONS.convert, mmtrt: version, options, sources });
}

/** Who builds, as far as it decides what is built. Kernels that are timed on a GPU depend on the GPU and its driver. */
export interface BuilderIdentity {
  readonly backend: string;
  readonly builder: string;
  readonly version: string | null;
  readonly gpus: readonly string[];
}

export function builderIdentity(builder: BuilderAtHand | null, backend: string): BuilderIdentity | null {
  if (builder === null) return null;
  const { found, gpus } = builder;
  const timed = backend === "tensorrt";
  const names =
    found.builder === "python"
      ? found.gpus.map(({ name, sm }) => `${name} sm${sm}`)
      : (gpus ?? []).map(sm => `sm${sm}`);
  // Two GPUs of a kind are one: which of them builds makes no difference.
  return {
    backend,
    builder: found.builder,
    version: found.version ?? null,
    gpus: timed ? [...new Set(names)] : [],
  };
}

/** A plan follows from options and checkpoint, and from which options were given: defaults are adapted to the model. */
export function planKey(
  cell: Cell,
  about: {
    readonly version: string;
    readonly checkpoint: string;
    readonly builder: BuilderIdentity | null;
    readonly plugins: SourceHashes;
    /** Files of each adapter of lora_dir. */
    readonly adapters: readonly SourceHashes[];
  },
): StepKey {
  const { version, checkpoint, builder, plugins, adapters } = about;
  return stepKey("plan", {
    step: STEP_VERSIONS.plan,
    mmtrt: version,
    checkpoint,
    options: shaping("build", cell),
    given: Object.fromEntries(givenOf(cell).map(key => [key, true])),
    trtexec_flags: cell.trtexecFlags,
    builder,
    plugins,
    ...(adapters.length > 0 && { adapters: [...adapters] }),
  });
}

export function graphKey(onnxSha256: string): StepKey {
  return stepKey("graph", { step: STEP_VERSIONS.graph, onnx_sha256: onnxSha256 });
}

export interface EngineInputs {
  readonly onnx_sha256: string;
  /** SHA-256 of the file of weights that the graph points into. */
  readonly weights_sha256: string;
  /** Of the word tables that it has from an adapter. */
  readonly tables?: readonly string[];
  readonly request: JsonObject;
  readonly builder: BuilderIdentity | null;
  readonly plugins: SourceHashes;
}

export function engineKey(inputs: EngineInputs): StepKey {
  return stepKey("engine", { step: STEP_VERSIONS.engine, ...inputs });
}

/** What of a request decides the engine; who is asked and which plugin files is said elsewhere, by version and hash. */
export function requestInputs(request: EngineRequest): JsonObject {
  const { builder: _1, plugins: _2, ...rest } = shapingPart(request);
  return rest as JsonObject;
}

export interface CellInputs {
  readonly plan: string;
  readonly checkpoint: string;
  readonly engines: Readonly<Record<string, string>>;
  /** Where the directory is: one record for each place. */
  readonly dir: string;
}

export function cellKey(inputs: CellInputs): StepKey {
  return stepKey("cell", { step: STEP_VERSIONS.cell, ...inputs });
}

/** A number that the user gave is not adapted to the model, so the plan depends on it; of paths and of who builds it does not. */
function givenOf(cell: Cell): readonly string[] {
  return Object.keys(shaping("build", cell)).filter(key => cell.origins[`build.${key}`] !== undefined);
}

/** Paths are not in the key: what they lead to is, by its hash. */
function shaping(command: CellCommand, cell: Cell): Record<string, OptionValue | undefined> {
  const table: OptionTable = CELL_OPTIONS[command];
  const values = cell[command] as unknown as Readonly<Record<string, OptionValue | undefined>>;
  return Object.fromEntries(
    Object.entries(table)
      .filter(([key, spec]) => spec.type !== "path" && !NOT_SHAPING.has(key))
      .map(([key]) => [key, values[key]]),
  );
}

/** The paths that a command reads, by option. */
export function pathsOf(command: CellCommand, cell: Cell): readonly (readonly [key: string, path: string])[] {
  const values = cell[command] as unknown as Readonly<Record<string, OptionValue | undefined>>;
  return Object.entries(CELL_OPTIONS[command]).flatMap(([key, spec]) => {
    const value = values[key];
    if (spec.type !== "path" || value === undefined) return [];
    return (Array.isArray(value) ? value : [value]).map(path => [key, String(path)] as const);
  });
}

/** Command-line words for the options that the matrix file sets; the others have their defaults anyway. */
export function argvOf(command: CellCommand, cell: Cell): readonly string[] {
  const values = cell[command] as unknown as Readonly<Record<string, OptionValue | undefined>>;
  return Object.keys(CELL_OPTIONS[command])
    .filter(key => cell.origins[`${command}.${key}`] !== undefined && values[key] !== undefined)
    .flatMap(key => {
      const value = values[key];
      return (Array.isArray(value) ? value : [value]).map(one => `--${key}=${String(one)}`);
    });
}

import type { Problem } from "../../diagnostics/index.ts";
import type { JsonObject } from "../../formats/json.ts";
import type { StepKind } from "../cache/entry.ts";
import type { StepKey } from "../cache/store.ts";
import type { Cell } from "./cell.ts";
import type { Cost, Task } from "./scheduler.ts";

/** What a plan says of one part of an engine directory: enough to know its steps without planning again. */
export interface PartFacts {
  readonly name: string;
  readonly onnx_sha256: string;
  readonly onnx_bytes: number;
  readonly nodes: number;
  /** The checkpoint's file that the graph points into, relative to the checkpoint. */
  readonly source: string;
  /** SHA-256 of the word tables that an adapter brings, where one does. */
  readonly tables?: readonly string[];
  readonly weight_bytes: number;
  /** Host memory that its builder is predicted to take; 0 where none runs. */
  readonly builder_bytes: number;
  /** What decides the engine; null for ONNX Runtime, which has none. */
  readonly request: JsonObject | null;
}

export interface PlanFacts {
  readonly fingerprint: string;
  readonly parts: readonly PartFacts[];
  /** Bytes on the fullest GPU. */
  readonly memory_peak: number;
  readonly warnings: readonly Problem[];
}

/** A step of the graph with the first of the cells that it is for. */
export interface MatrixStep {
  readonly key: StepKey;
  /** `convert`, `engine llm/rank0`. */
  readonly label: string;
  readonly cell: Cell;
  /** Graphs and engines: which part of the cell's plan. */
  readonly part?: PartFacts;
  /** The steps that this one uses the results of, by their label. */
  readonly uses: Readonly<Record<string, string>>;
}

export type MatrixTask = Task<MatrixStep>;

const MIB = 1 << 20;
/** Node with a few bands of weights. */
const CONVERT_MEMORY = 400 * MIB;
const SMALL = 64 * MIB;
/** What unlocks others goes first; among converts and engines the longest, or it would run alone at the end. */
const RANK: Readonly<Record<StepKind, number>> = { cell: 5e15, graph: 4e15, plan: 3e15, convert: 2e15, engine: 0 };
/** A node of the graph takes TensorRT as long as so many bytes of weights. */
const BYTES_PER_NODE = 50_000;

export function idOf({ kind, key }: Pick<StepKey, "kind" | "key">): string {
  return `${kind}-${key}`;
}

/** `size`: bytes of the sources. */
export function convertTask(step: MatrixStep, size: number): MatrixTask {
  return task(step, { memory: CONVERT_MEMORY, disk: size, gpus: 0 }, size);
}

export function planTask(step: MatrixStep): MatrixTask {
  return task(step, { memory: SMALL, disk: 0, gpus: 0 }, 0);
}

export function graphTask(step: MatrixStep, { onnx_bytes: bytes }: PartFacts): MatrixTask {
  return task(step, { memory: SMALL, disk: bytes, gpus: 0 }, bytes);
}

/** `timed`: kernels are tried on a GPU, which must not do anything else meanwhile. */
export function engineTask(step: MatrixStep, part: PartFacts, timed: boolean): MatrixTask {
  const { weight_bytes: weights, builder_bytes: memory, nodes } = part;
  const cost: Cost = { memory, disk: 2 * weights + 16 * MIB, gpus: timed ? 1 : 0 };
  return task(step, cost, weights + nodes * BYTES_PER_NODE);
}

export function cellTask(step: MatrixStep, bytes: number): MatrixTask {
  return task(step, { memory: SMALL, disk: bytes, gpus: 0 }, 0);
}

function task(step: MatrixStep, cost: Cost, size: number): MatrixTask {
  const { kind } = step.key;
  return { id: idOf(step.key), needs: Object.values(step.uses), cost, priority: RANK[kind] + size, step };
}

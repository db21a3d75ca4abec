import type { Problem } from "../../diagnostics/index.ts";
import type { OptionValue } from "../../options/define.ts";
import type { StepKind } from "../cache/entry.ts";

/** done: made in this run · cached: it was there · elsewhere: another process is at it, it is looked at again. */
export type StepState = "start" | "done" | "cached" | "elsewhere" | "retry" | "failed" | "skipped";

/** What a run of a matrix reports while it runs; `finished` is the last. */
export type MatrixEvent =
  | { readonly event: "matrix"; readonly file: string; readonly cells: readonly string[]; readonly workers: number }
  | {
      readonly event: "step";
      readonly state: StepState;
      readonly kind: StepKind;
      /** `convert llava`, `engine llm/rank0`: with the first cell it is what a person calls it. */
      readonly label: string;
      readonly key: string;
      readonly cells: readonly string[];
      readonly seconds?: number;
      /** Which worker, from 0. */
      readonly slot?: number;
      /** Why it is done (again): with --explain. */
      readonly reason?: string;
      readonly problems?: readonly Problem[];
    }
  | {
      readonly event: "progress";
      readonly kind: StepKind;
      readonly key: string;
      readonly label: string;
      readonly done: number;
      readonly total: number;
      readonly unit: "B" | "%";
    }
  | { readonly event: "note"; readonly message: string }
  | { readonly event: "warning"; readonly cell: string; readonly problem: Problem }
  | {
      readonly event: "cell";
      readonly name: string;
      readonly state: CellState;
      readonly dir: string;
      readonly seconds: number;
    }
  | { readonly event: "finished"; readonly result: MatrixResult };

/** built: something was done for it · unchanged: everything was there · skipped: another failure stopped the run. */
export type CellState = "built" | "unchanged" | "failed" | "skipped";

export interface StepResult {
  readonly kind: StepKind;
  readonly label: string;
  readonly key: string;
  readonly cells: readonly string[];
  readonly state: "done" | "cached" | "failed" | "skipped";
  /** Of the step itself; of a cached one when it was done. */
  readonly seconds: number;
  /** Since the run began, and on which worker; null for a step that was not run. */
  readonly started: number | null;
  readonly slot: number | null;
  readonly attempts: number;
  readonly bytes: number;
  readonly peak_bytes: number | null;
  readonly reason: string | null;
}

export interface CellResult {
  readonly name: string;
  readonly axes: Readonly<Record<string, OptionValue>>;
  readonly state: CellState;
  readonly dir: string;
  /** Sum over its steps, shared ones too. */
  readonly seconds: number;
  readonly engine_bytes: number;
  /** Of the fullest GPU, by the plan's account; null where no plan was made. */
  readonly memory_bytes: number | null;
  readonly problems: readonly Problem[];
  readonly warnings: readonly Problem[];
}

/** Everything that the reports are made of: plain data. */
export interface MatrixResult {
  readonly file: string;
  readonly version: string;
  readonly workers: number;
  readonly shard: string | null;
  /** Wall clock. */
  readonly seconds: number;
  readonly cells: readonly CellResult[];
  readonly steps: readonly StepResult[];
}

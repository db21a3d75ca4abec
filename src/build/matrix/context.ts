import type { ToolEnvironment } from "../../toolchain/tensorrt/request.ts";
import type { Cache } from "../cache/store.ts";
import type { BuilderAtHand } from "../find-builder.ts";
import type { Cell } from "./cell.ts";
import type { SourceHashes } from "./keys.ts";
import type { TimingCaches } from "./timing.ts";

/** What every step of a run has at hand. */
export interface StepContext {
  readonly version: string;
  /** How this program is started, for steps that are processes of it. */
  readonly program: readonly [string, ...string[]];
  readonly env: ToolEnvironment;
  readonly signal: AbortSignal;
  readonly cache: Cache;
  readonly outputDir: string;
  builderOf(cell: Cell): BuilderAtHand | null;
  /** Plugin libraries of a cell by their hash. */
  pluginsOf(cell: Cell): SourceHashes;
  readonly timing: TimingCaches;
  progress(progress: StepProgress): void;
}

export interface StepProgress {
  readonly done: number;
  readonly total: number;
  readonly unit: "B" | "%";
}

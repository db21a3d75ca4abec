import { statfs } from "node:fs/promises";
import { availableParallelism, freemem } from "node:os";
import { MmtrtError } from "../../diagnostics/index.ts";
import { showBytes } from "../../rules/rule.ts";
import type { Cell } from "./cell.ts";
import type { Prepared } from "./prepare.ts";
import type { Limits } from "./scheduler.ts";
import type { MatrixTask } from "./tasks.ts";

const GIB = 1024 ** 3;
/** Parts of what is free at the start that a run may take: others use the machine too, and costs are estimates. */
const MEMORY_PART = 0.8;
const DISK_PART = 0.95;

export interface AskedLimits {
  readonly workers: number | "auto";
  /** GiB. */
  readonly memory_budget: number | "auto";
  readonly disk_budget: number | "auto";
  readonly gpu_budget: number | "auto";
  readonly retries: number;
  readonly keep_going: boolean;
}

/** Numbers for every `auto`, from this machine as it is now. */
export async function limitsOf(
  asked: AskedLimits,
  cells: readonly Cell[],
  { builderOf }: Pick<Prepared, "builderOf">,
  cacheDir: string,
): Promise<Limits> {
  const free = await statfs(cacheDir).then(
    ({ bavail, bsize }) => bavail * bsize,
    () => Number.POSITIVE_INFINITY,
  );
  const seen = Math.max(0, ...cells.map(cell => builderOf(cell)?.gpus?.length ?? 0));
  const given = (value: number | "auto", auto: number): number => (value === "auto" ? auto : value);
  return {
    workers: given(asked.workers, availableParallelism()),
    memory: asked.memory_budget === "auto" ? freemem() * MEMORY_PART : asked.memory_budget * GIB,
    disk: asked.disk_budget === "auto" ? free * DISK_PART : asked.disk_budget * GIB,
    gpus: given(asked.gpu_budget, seen),
    retries: asked.retries,
    keepGoing: asked.keep_going,
  };
}

export function tooLarge({ step: { cell, label }, cost }: MatrixTask, left: number): MmtrtError {
  return new MmtrtError([
    {
      code: "MTX009",
      what: `${label} of ${cell.name} may write ${showBytes(cost.disk)}; ${showBytes(Math.max(0, left))} of the disk budget are left`,
      at: cell.at,
      why: "a disk that fills up in the middle of a write stops everybody who uses it",
      fix: "raise --disk_budget, free space, or mmtrt cache gc",
    },
  ]);
}

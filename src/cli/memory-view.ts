import type { BuilderMemory } from "../build/memory/builder.ts";
import { RESERVED } from "../build/memory/limits.ts";
import type { RankMemory } from "../build/memory/types.ts";
import type { BuildPlan } from "../build/plan.ts";
import { showBytes } from "../rules/rule.ts";
import { type Cell, formatTable } from "./ui.ts";

/** What each GPU holds when the engines run: ranks with the same account are one block. */
export function runMemory({ memory: account, gpu }: BuildPlan): string {
  const rows = alike(account.ranks, ({ items, steps }) => ({
    // A stage's weights are named by rank.
    items: items.map(({ what, bytes, formula }) => [what, bytes, what === "weights" ? "" : formula]),
    steps,
  })).flatMap(([rank, all]) => rankRows(rank, all));
  const free = gpu === null ? 0 : gpu.memory_mib * 1024 ** 2 - RESERVED - account.peak;
  const tail = [
    account.ranks.length > 1
      ? `average per GPU: (model + KV + activation) / ${account.ranks.length} = ${showBytes(account.average)}`
      : "",
    gpu === null
      ? ""
      : `${gpu.name}: ${showBytes(gpu.memory_mib * 1024 ** 2)}, fullest rank ${showBytes(account.peak)}: ` +
        (free < 0
          ? `${showBytes(-free)} too much`
          : `it fits, ${showBytes(free)} are left beside ${showBytes(RESERVED)} for the driver`),
  ];
  return [formatTable(["rank", "part", "size", "formula"], rows), ...tail].filter(line => line !== "").join("\n");
}

function rankRows(first: RankMemory, ranks: readonly RankMemory[]): Cell[][] {
  const numbers = ranks.map(({ rank }) => rank);
  const name = numbers.length === 1 ? `rank ${first.rank}` : `ranks ${numbers.join(", ")}`;
  const rows = first.items.flatMap(({ what, bytes, formula }): Cell[][] => [
    ["", what, showBytes(bytes), formula],
    // The larger of them is what `activations` counts.
    ...(what === "activations"
      ? first.steps.map(step => ["", `  ${step.step}`, showBytes(step.bytes), step.formula])
      : []),
  ]);
  return [
    ...rows.map((row, i) => (i === 0 ? [name, ...row.slice(1)] : row)),
    ["", "total", showBytes(first.total), ""],
  ];
}

/** What a process holds that runs all of it in ONNX Runtime; nothing for engines of TensorRT. */
export function processMemory({ process_memory: memory }: BuildPlan): string {
  if (memory === null) return "";
  const rows = memory.items.map(({ what, bytes, formula }, i) => [
    i === 0 ? "run" : "",
    what,
    showBytes(bytes),
    formula,
  ]);
  const peak = `the process that runs it takes ${showBytes(memory.peak)} of host memory at its peak: loading and running are not at once`;
  return `${formatTable(["process", "part", "size", "formula"], rows)}\n${peak}`;
}

/** What the processes hold that build the engines, and how many of them run at a time. */
export function builderMemory({ build_memory: { builders, peak, workers, limit } }: BuildPlan): string {
  if (builders.length === 0) return "";
  const rows = alike(builders, ({ items, gpu }) => ({ items, gpu })).flatMap(([one, all]) => builderRows(one, all));
  const together = Math.min(workers, builders.length);
  const allowed = limit === null ? "" : ` of the ${showBytes(limit)} of max_build_memory`;
  const tail = `the largest builder takes ${showBytes(peak)}${together > 1 ? `, ${together} at a time` : ""}${allowed}`;
  return `${formatTable(["engine", "part", "size", "formula"], rows)}\n${tail}`;
}

function builderRows(one: BuilderMemory, all: readonly BuilderMemory[]): Cell[][] {
  const rows: Cell[][] = [
    ...one.items.map(({ what, bytes, formula }): Cell[] => ["", what, showBytes(bytes), formula]),
    ["", "total", showBytes(one.host), ""],
    ...(one.gpu === null ? [] : [["", "on the GPU", showBytes(one.gpu.bytes), one.gpu.formula]]),
  ];
  const name = all.map(builder => builder.name).join(", ");
  return rows.map((row, i) => (i === 0 ? [name, ...row.slice(1)] : row));
}

/** Groups of what is the same in `key`, each with its first. */
function alike<T>(all: readonly T[], key: (one: T) => unknown): readonly (readonly [T, readonly T[]])[] {
  const groups = new Map<string, T[]>();
  for (const one of all) {
    const text = JSON.stringify(key(one));
    groups.set(text, [...(groups.get(text) ?? []), one]);
  }
  return [...groups.values()].map(group => [group[0] as T, group] as const);
}

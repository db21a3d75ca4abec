import { fail, type Problem } from "../../diagnostics/index.ts";
import { fingerprint } from "../fingerprint.ts";
import { smNumbers } from "../tensorrt.ts";
import { showValue } from "./axes.ts";
import type { Cell } from "./cell.ts";

const MOST_SMS_IN_NAME = 4;

/** What a machine must have to build a cell. */
export interface MachineNeeds {
  readonly backend: Cell["build"]["backend"];
  /** TensorRT times kernels on the GPU that the engine is for; TensorRT for RTX compiles without one. */
  readonly gpu: boolean;
  /** GPUs the engines run on, as 86; empty is what the builder takes by itself. */
  readonly sms: readonly number[];
}

/** Cells that any machine of one kind can build, and the number of jobs that share them. */
export interface JobGroup {
  /** `cpu`, `rtx`, `rtx-sm86-sm120`, `gpu`, `gpu-sm90`: in names of jobs and artefacts. */
  readonly name: string;
  readonly needs: MachineNeeds;
  readonly cells: readonly Cell[];
  readonly jobs: number;
}

/** Groups in the order of their first cells. A target's `limit` is for all jobs together. Errors: MTX018. */
export function groupsOf(
  cells: readonly Cell[],
  { jobs, limit, at }: { readonly jobs: number | "auto"; readonly limit: number; readonly at: string },
): readonly JobGroup[] {
  const byName = new Map<string, Cell[]>();
  for (const cell of cells) {
    const name = nameOf(needsOf(cell));
    byName.set(name, [...(byName.get(name) ?? []), cell]);
  }
  const groups = [...byName];
  const total = jobs === "auto" ? Math.min(cells.length, limit) : jobs;
  const problem = jobsProblem(total, { cells: cells.length, groups: groups.map(([name]) => name), limit, at });
  if (problem !== undefined) fail(problem);
  const shares = spread(
    total,
    groups.map(([, own]) => own.length),
  );
  return groups.map(([name, own], i) => ({
    name,
    needs: needsOf(own[0] as Cell),
    cells: own,
    jobs: shares[i] as number,
  }));
}

function needsOf({ build: { backend, compute_capabilities: given } }: Cell): MachineNeeds {
  const sms = backend === "onnxruntime" ? [] : smNumbers(given);
  return { backend, gpu: backend === "tensorrt", sms };
}

function nameOf({ backend, gpu, sms }: MachineNeeds): string {
  if (backend === "onnxruntime") return "cpu";
  // Kubernetes takes names of 63 characters, with the run's and a number behind it.
  const many = sms.length > MOST_SMS_IN_NAME ? [`${sms.length}sms`, fingerprint(sms).slice(0, 6)] : undefined;
  return [gpu ? "gpu" : "rtx", ...(many ?? sms.map(sm => `sm${sm}`))].join("-");
}

/** One each, then one more where a job has the most cells, so that the longest job is as short as it can be. */
export function spread(total: number, sizes: readonly number[]): readonly number[] {
  const jobs = sizes.map(() => 1);
  for (let left = total - sizes.length; left > 0; left--) {
    const load = (i: number): number => (sizes[i] as number) / (jobs[i] as number);
    const fullest = sizes.reduce((best, _, i) => (load(i) > load(best) ? i : best), 0);
    jobs[fullest] = (jobs[fullest] as number) + 1;
  }
  return jobs;
}

/** Patterns for --only that fit these cells of all and no others: an axis where one tells them apart, else their names. */
export function patternsFor(group: readonly Cell[], all: readonly Cell[]): readonly string[] {
  if (group.length === all.length) return [];
  const wanted = new Set(group);
  for (const key of Object.keys(group[0]?.axes ?? {})) {
    const axisOf = ({ axes }: Cell): string => (axes[key] === undefined ? "" : showValue(axes[key]));
    const values = new Set(group.map(axisOf));
    const plain = [...values].every(value => /^[\w.+-]+$/.test(value));
    if (plain && all.every(cell => values.has(axisOf(cell)) === wanted.has(cell)))
      return [...values].map(value => `${key}=${value}`);
  }
  return group.map(({ name }) => name);
}

interface Counts {
  readonly cells: number;
  readonly groups: readonly string[];
  readonly limit: number;
  readonly at: string;
}

function jobsProblem(jobs: number, { cells, groups, limit, at }: Counts): Problem | undefined {
  const most = Math.min(cells, limit);
  if (groups.length > limit || jobs > limit)
    return {
      code: "MTX018",
      at,
      what: `${Math.max(jobs, groups.length)} jobs; the system takes ${limit} at most`,
      why: "it would refuse the file, or run a part of it",
      fix: groups.length > limit ? "write files for a part of the cells with --only" : `--jobs ${most}`,
    };
  if (jobs > cells)
    return {
      code: "MTX018",
      at,
      what: `${jobs} jobs for ${cells} cells`,
      why: "a job without a cell would wait for a machine and do nothing",
      fix: `--jobs ${cells}, or without --jobs one for each cell`,
    };
  if (jobs < groups.length)
    return {
      code: "MTX018",
      at,
      what: `${jobs} jobs for ${groups.length} kinds of machines: ${groups.join(", ")}`,
      why: "cells with different needs cannot be in one job",
      fix: `--jobs ${groups.length} or more, or one kind with --only`,
    };
  return undefined;
}

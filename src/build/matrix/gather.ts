import { Ajv2020 } from "ajv/dist/2020.js";
import { fail, type Problem } from "../../diagnostics/index.ts";
import type { Cell } from "./cell.ts";
import type { CellResult, CellState, MatrixResult, StepResult } from "./events.ts";

/** What a job printed with --json, and where it lies. */
export interface JobOutput {
  readonly file: string;
  readonly text: string;
}

const CELL_STATES: readonly CellState[] = ["built", "unchanged", "failed", "skipped"];
const STEP_STATES: readonly StepResult["state"][] = ["done", "failed", "cached", "skipped"];

/** The last `result` of a job's events. Errors: MTX020. */
export function resultIn({ file, text }: JobOutput, version: string): MatrixResult {
  const line = text
    .split("\n")
    .findLast(one => one.startsWith('{"event":"result"'))
    ?.trim();
  if (line === undefined)
    return noResult(file, "it has no line with a result", "the job was killed or ran out of time");
  const data = parsedLine(file, line);
  check ??= new Ajv2020({ allowUnionTypes: true }).compile<MatrixResult>(RESULT);
  if (!check(data)) {
    const [error] = check.errors ?? [];
    return noResult(file, `${error?.instancePath || "its result"} ${error?.message ?? ""}`, "a report is made of it");
  }
  if (data.version !== version)
    return noResult(file, `it is of mmtrt ${data.version}; this is ${version}`, "a report is of one version");
  return data;
}

/**
 * One result of many, for the cells in their order. A step that several jobs had is the one of the job that did it; workers
 * are those of all jobs, one below the other, and times run from the start of each job. Errors: MTX020 for cells that are none of these.
 */
export function gathered(
  cells: readonly Cell[],
  jobs: readonly { readonly file: string; readonly result: MatrixResult }[],
  about: { readonly file: string; readonly version: string },
): MatrixResult {
  const names = new Set(cells.map(({ name }) => name));
  const found = new Map<string, CellResult>();
  for (const { file, result } of jobs)
    for (const cell of result.cells) {
      if (!names.has(cell.name)) noResult(file, `${cell.name} is no cell of ${about.file}`, "it is of another matrix");
      const other = found.get(cell.name);
      if (other === undefined || better(CELL_STATES, cell, other)) found.set(cell.name, cell);
    }
  return {
    ...about,
    workers: jobs.reduce((sum, { result }) => sum + result.workers, 0),
    shard: null,
    seconds: Math.max(0, ...jobs.map(({ result }) => result.seconds)),
    cells: cells.map(cell => found.get(cell.name) ?? unreported(cell)),
    steps: stepsOf(jobs.map(({ result }) => result)),
  };
}

function stepsOf(results: readonly MatrixResult[]): readonly StepResult[] {
  const steps = new Map<string, StepResult>();
  let slots = 0;
  for (const { workers, steps: own } of results) {
    for (const step of own) {
      const id = `${step.kind}-${step.key}`;
      const moved = { ...step, slot: step.slot === null ? null : step.slot + slots };
      const other = steps.get(id);
      const kept = other === undefined || better(STEP_STATES, moved, other) ? moved : other;
      steps.set(id, { ...kept, cells: [...new Set([...(other?.cells ?? []), ...step.cells])] });
    }
    slots += workers;
  }
  return [...steps.values()];
}

function better<S extends string>(
  order: readonly S[],
  one: { readonly state: S },
  other: { readonly state: S },
): boolean {
  return order.indexOf(one.state) < order.indexOf(other.state);
}

function unreported({ name, axes, at }: Cell): CellResult {
  const problem: Problem = {
    code: "MTX021",
    at,
    what: `no job reported on ${name}`,
    why: "its job did not run, or ended without a result",
    fix: "see the job's log and start it again: what it had done is in the cache",
  };
  return {
    name,
    axes,
    state: "failed",
    dir: "",
    seconds: 0,
    engine_bytes: 0,
    memory_bytes: null,
    problems: [problem],
    warnings: [],
  };
}

function parsedLine(file: string, line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return noResult(file, "its result is cut off", "the disk was full, or the job was killed while it wrote");
  }
}

function noResult(file: string, what: string, why: string): never {
  return fail({
    code: "MTX020",
    at: file,
    what: `${file} is not the result of a job: ${what}`,
    why,
    fix: "give the files that mmtrt matrix FILE --shard I/N --json printed, by this version",
  });
}

const TEXT = { type: "string" } as const;
const NUMBER = { type: "number", minimum: 0 } as const;
const MAYBE = { type: ["number", "null"] } as const;
const TEXTS = { type: "array", items: TEXT } as const;
const PROBLEMS = {
  type: "array",
  items: object({ code: TEXT, at: TEXT, what: TEXT, why: TEXT, fix: TEXT }),
} as const;
const VALUE = { type: ["string", "number", "boolean", "array"] } as const;

/** Compiled when it is first needed. */
let check: import("ajv").ValidateFunction<MatrixResult> | undefined;

/** A MatrixResult as it comes from a file: the reports rely on all of it. */
const RESULT = object({
  file: TEXT,
  version: TEXT,
  workers: { type: "integer", minimum: 1, maximum: 256 },
  shard: { type: ["string", "null"] },
  seconds: NUMBER,
  cells: {
    type: "array",
    items: object({
      name: TEXT,
      axes: { type: "object", additionalProperties: VALUE },
      state: { enum: CELL_STATES },
      dir: TEXT,
      seconds: NUMBER,
      engine_bytes: NUMBER,
      memory_bytes: MAYBE,
      problems: PROBLEMS,
      warnings: PROBLEMS,
    }),
  },
  steps: {
    type: "array",
    items: object({
      kind: { enum: ["convert", "plan", "graph", "engine", "cell"] },
      label: TEXT,
      key: TEXT,
      cells: TEXTS,
      state: { enum: STEP_STATES },
      seconds: NUMBER,
      started: MAYBE,
      slot: { type: ["integer", "null"], minimum: 0, maximum: 255 },
      attempts: NUMBER,
      bytes: NUMBER,
      peak_bytes: MAYBE,
      reason: { type: ["string", "null"] },
    }),
  },
});

function object(properties: Readonly<Record<string, unknown>>): {
  readonly type: "object";
  readonly required: readonly string[];
  readonly properties: Readonly<Record<string, unknown>>;
} {
  return { type: "object", required: Object.keys(properties), properties };
}

import { join, resolve } from "node:path";
import { MmtrtError } from "../../diagnostics/index.ts";
import type { JsonObject } from "../../formats/json.ts";
import type { Entry } from "../cache/entry.ts";
import type { Found, Stage, StepKey } from "../cache/store.ts";
import type { BuildPlan } from "../plan.ts";
import type { Cell } from "./cell.ts";
import type { StepContext, StepProgress } from "./context.ts";
import { builderIdentity, cellKey, engineKey, graphKey } from "./keys.ts";
import type { Outcome, TaskRunner } from "./scheduler.ts";
import { type CellFacts, clearDamaged, runCell } from "./step-cell.ts";
import { runConvert } from "./step-convert.ts";
import { runEngine, runGraph } from "./step-engine.ts";
import { asJson, factsOf, planCell } from "./step-plan.ts";
import {
  cellTask,
  engineTask,
  graphTask,
  idOf,
  type MatrixStep,
  type MatrixTask,
  type PartFacts,
  type PlanFacts,
} from "./tasks.ts";

export interface RunnerHooks {
  /** The cells that a plan is for. */
  cellsOf(plan: StepKey): readonly Cell[];
  /** What a plan led to. */
  onTasks(plan: MatrixTask, tasks: readonly MatrixTask[]): void;
  /** A step's result, made or found. */
  onFound(task: MatrixTask, found: Found): void;
  onProgress(task: MatrixTask, progress: StepProgress): void;
  /** A damaged result is made again; somebody should know. */
  onDamaged(task: MatrixTask, reason: string): void;
}

type Work = (stage: Stage) => Promise<JsonObject>;

/** Does the steps of a matrix through the cache: look, lock, look again, make, publish. */
export class MatrixRunner implements TaskRunner<MatrixStep> {
  readonly #context: StepContext;
  readonly #hooks: RunnerHooks;
  /** Results of this run by the task's id. */
  readonly #found = new Map<string, Found>();
  /** What was once written into engine directories that are not whole any more. */
  readonly #damaged = new Map<string, CellFacts>();
  /** By key: a plan is made once for all that need more of it than its facts. */
  readonly #plans = new Map<string, Promise<BuildPlan>>();

  constructor(context: StepContext, hooks: RunnerHooks) {
    this.#context = context;
    this.#hooks = hooks;
  }

  async lookup(
    task: MatrixTask,
  ): Promise<{ readonly state: "done"; readonly tasks: readonly MatrixTask[] } | undefined> {
    const { cache, signal } = this.#context;
    const looked = await cache.find(task.step.key, signal);
    if (looked.state === "damaged") this.#hooks.onDamaged(task, looked.reason);
    if (looked.state !== "found") return undefined;
    if (task.step.key.kind === "cell") {
      const damage = await this.#cellDamage(task, looked.entry);
      if (damage !== undefined) {
        this.#hooks.onDamaged(task, damage);
        this.#damaged.set(task.id, looked.entry.facts as unknown as CellFacts);
        return undefined;
      }
    }
    return this.#done(task, looked);
  }

  async run(task: MatrixTask, { gpus }: { readonly gpus: readonly number[] }): Promise<Outcome<MatrixStep>> {
    const { cache } = this.#context;
    try {
      const lock = await cache.locks.tryAcquire(task.id);
      if (!("release" in lock)) return { state: "elsewhere" };
      try {
        // Whoever had the lock before may have done it.
        const made = await this.lookup(task);
        return made ? { ...made, cached: true } : this.#done(task, await this.#make(task, gpus));
      } finally {
        await lock.release();
      }
    } catch (error) {
      return { state: "failed", error, transient: !this.#context.signal.aborted && isTransient(error) };
    }
  }

  async #make(task: MatrixTask, gpus: readonly number[]): Promise<Found> {
    const { cache, signal } = this.#context;
    const { key } = task.step;
    const stage = await cache.stage();
    try {
      const started = performance.now();
      const facts = await this.#workOf(task, gpus)(stage);
      const seconds = (performance.now() - started) / 1000;
      signal.throwIfAborted();
      // The record of an engine directory says what lies there now, whatever was there before.
      if (key.kind === "cell") await cache.remove(key.kind, key.key);
      return await cache.publish(key, stage, { facts, seconds, peak_bytes: peakOf(facts) }, signal);
    } finally {
      await cache.discard(stage);
    }
  }

  #workOf(task: MatrixTask, gpus: readonly number[]): Work {
    const { step } = task;
    const context = { ...this.#context, progress: (progress: StepProgress) => this.#hooks.onProgress(task, progress) };
    switch (step.key.kind) {
      case "convert":
        return stage => runConvert(step.cell, step.key, stage, context);
      case "plan":
        return async () => asJson(factsOf(await this.#plan(step, idOf(step.key))));
      case "graph":
        return async stage => {
          await runGraph(await this.#planned(step), nameOf(step), stage);
          return {};
        };
      case "engine":
        return async stage => {
          const graph = join(this.#use(step, `graph ${nameOf(step)}`).dir, "model.onnx");
          const identity = builderIdentity(context.builderOf(step.cell), step.cell.build.backend);
          const place = { gpus, timing: context.timing.nameOf(step.cell, identity) };
          return asJson(await runEngine(await this.#planned(step), nameOf(step), graph, stage, place, context));
        };
      case "cell":
        return async () => {
          const plan = { ...(await this.#planned(step)), output_dir: this.dirOf(step.cell) };
          await clearDamaged(plan.output_dir, this.#damaged.get(task.id));
          const parts = new Map(Object.keys(step.uses).map(label => [label, this.#use(step, label)]));
          return runCell(plan, parts, context);
        };
    }
  }

  /** A result, and what can only be known with it. */
  #done(task: MatrixTask, found: Found): { readonly state: "done"; readonly tasks: readonly MatrixTask[] } {
    this.#found.set(task.id, found);
    this.#hooks.onFound(task, found);
    const tasks = task.step.key.kind === "plan" ? this.#tasksOf(task, found.entry) : [];
    this.#hooks.onTasks(task, tasks);
    return { state: "done", tasks };
  }

  /** Graphs and engines of a plan, and the cells that are made of them. */
  #tasksOf({ step }: MatrixTask, { facts }: Entry): readonly MatrixTask[] {
    const { parts } = facts as unknown as PlanFacts;
    const convert = this.#use(step, "convert");
    const pieces = parts.flatMap(part => this.#partTasks(step, part, convert));
    const uses = Object.fromEntries(pieces.map(task => [task.step.label, task.id]));
    const engines = Object.fromEntries(pieces.map(({ step: { label, key } }) => [label, key.key]));
    const linked = step.cell.build.copy_weights ? parts.reduce((sum, part) => sum + part.weight_bytes, 0) : 0;
    const cells = this.#hooks.cellsOf(step.key).map(cell => {
      const key = cellKey({ plan: step.key.key, checkpoint: convert.entry.key, engines, dir: this.dirOf(cell) });
      const needs = { ...uses, plan: idOf(step.key), convert: idOf(convert.entry) };
      return cellTask({ key, label: "cell", cell, uses: needs }, linked);
    });
    return [...pieces, ...cells];
  }

  #partTasks({ cell, key: plan, uses }: MatrixStep, part: PartFacts, convert: Found): readonly MatrixTask[] {
    const needs = { plan: idOf(plan), convert: uses.convert ?? "" };
    const graph = graphTask(
      { key: graphKey(part.onnx_sha256), label: `graph ${part.name}`, cell, part, uses: needs },
      part,
    );
    if (part.request === null) return [graph];
    const builder = builderIdentity(this.#context.builderOf(cell), cell.build.backend);
    const key = engineKey({
      onnx_sha256: part.onnx_sha256,
      weights_sha256: convert.entry.files.find(({ path }) => path === part.source)?.sha256 ?? "",
      ...(part.tables && { tables: part.tables }),
      request: part.request,
      builder,
      plugins: this.#context.pluginsOf(cell),
    });
    const engineNeeds = { ...needs, [graph.step.label]: graph.id };
    const step = { key, label: `engine ${part.name}`, cell, part, uses: engineNeeds };
    return [graph, engineTask(step, part, cell.build.backend === "tensorrt")];
  }

  /** Where a cell's engine directory is. */
  dirOf(cell: Cell): string {
    return resolve(this.#context.outputDir, cell.name);
  }

  #use({ uses, label }: MatrixStep, name: string): Found {
    const found = this.#found.get(uses[name] ?? "");
    if (found === undefined) throw new Error(`${label} has no result of ${name}`);
    return found;
  }

  #planned(step: MatrixStep): Promise<BuildPlan> {
    return this.#plan(step, step.uses.plan ?? "");
  }

  #plan(step: MatrixStep, id: string): Promise<BuildPlan> {
    const known = this.#plans.get(id);
    if (known !== undefined) return known;
    const plan = planCell(step.cell, this.#use(step, "convert").dir, this.dirOf(step.cell), this.#context);
    this.#plans.set(id, plan);
    // After a failure the next who asks tries again.
    plan.catch(() => this.#plans.delete(id));
    return plan;
  }

  async #cellDamage({ step }: MatrixTask, { facts }: Entry): Promise<string | undefined> {
    const { cache, signal } = this.#context;
    return cache.damageOf((facts as unknown as CellFacts).files, this.dirOf(step.cell), signal);
  }
}

function nameOf({ part }: MatrixStep): string {
  if (part === undefined) throw new Error("a graph or engine without a part");
  return part.name;
}

function peakOf(facts: JsonObject): number | null {
  return typeof facts.peakHostMiB === "number" ? facts.peakHostMiB * 1024 ** 2 : null;
}

/** Codes of failures that may be gone the next time: the process was killed, most often for memory. */
const TRANSIENT_CODES: ReadonlySet<string> = new Set(["MTX008", "TRT011"]);
/** Errors of the system that pass: too many processes or files, a file server that was away. */
const TRANSIENT_ERRNO: ReadonlySet<string> = new Set([
  "EAGAIN",
  "EMFILE",
  "ENFILE",
  "ENOMEM",
  "ESTALE",
  "EIO",
  "ETIMEDOUT",
  "EBUSY",
]);

export function isTransient(error: unknown): boolean {
  if (error instanceof MmtrtError && error.problems.every(({ code }) => TRANSIENT_CODES.has(code))) return true;
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause)
    if ("code" in cause && TRANSIENT_ERRNO.has(String(cause.code))) return true;
  return false;
}

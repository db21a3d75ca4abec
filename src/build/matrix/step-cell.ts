import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { JsonObject } from "../../formats/json.ts";
import type { EngineReport } from "../../toolchain/tensorrt/request.ts";
import type { EntryFile } from "../cache/entry.ts";
import { filesBelow } from "../cache/files.ts";
import type { Found } from "../cache/store.ts";
import type { BuildPlan } from "../plan.ts";
import { type Prebuilt, type PrebuiltEngine, runPlan } from "../run-plan.ts";
import type { StepContext } from "./context.ts";
import { ENGINE_FILE, GRAPH_FILE, LOG_FILE } from "./step-engine.ts";

/** What is known of a finished engine directory: every file as it was written. */
export interface CellFacts {
  readonly files: readonly EntryFile[];
  readonly engine_bytes: number;
}

/** By label, `graph visual`: the results that the directory is made of. */
export type Parts = ReadonlyMap<string, Found>;

/** The engine directory, by the same code as `mmtrt build`, with graphs and engines linked from the cache. */
export async function runCell(plan: BuildPlan, parts: Parts, context: StepContext): Promise<JsonObject> {
  for await (const event of runPlan(plan, context.signal, context.env, prebuiltOf(plan, parts)))
    if (event.event === "progress") context.progress({ done: event.done, total: event.total, unit: event.unit });
  const files = await context.cache.hashTree(plan.output_dir, "linked", context.signal);
  const engines = plan.engines.flatMap(({ request }) => (request === null ? [] : [request.engine]));
  const engineBytes = files.reduce((sum, { path, size }) => (engines.includes(path) ? sum + size : sum), 0);
  return { files: files.map(file => ({ ...file })), engine_bytes: engineBytes };
}

function prebuiltOf(plan: BuildPlan, parts: Parts): Prebuilt {
  const graphs = new Map<string, string>();
  const engines = new Map<string, PrebuiltEngine>();
  for (const { name } of plan.engines) {
    const graph = parts.get(`graph ${name}`);
    const engine = parts.get(`engine ${name}`);
    if (graph !== undefined) graphs.set(name, join(graph.dir, GRAPH_FILE));
    if (engine === undefined) continue;
    engines.set(name, {
      engine: join(engine.dir, ENGINE_FILE),
      log: join(engine.dir, LOG_FILE),
      report: engine.entry.facts as unknown as EngineReport,
    });
  }
  return { graphs, engines };
}

/**
 * Makes room for an engine directory that was changed or half removed: `build` replaces only whole ones. Not when anything
 * lies in it that was not written by the run that `facts` are of.
 */
export async function clearDamaged(dir: string, facts: CellFacts | undefined): Promise<void> {
  if (facts === undefined) return;
  const known = new Set(facts.files.map(({ path }) => path));
  const present = await filesBelow(dir).catch(() => []);
  if (present.every(path => known.has(path))) await rm(dir, { recursive: true, force: true });
}

import type { ToolEnvironment } from "../../toolchain/tensorrt/request.ts";
import type { Cache } from "../cache/store.ts";
import { type BuilderAtHand, findBuilder } from "../find-builder.ts";
import type { Cell } from "./cell.ts";
import { builderIdentity, convertKey, pathsOf, planKey, type SourceHashes } from "./keys.ts";
import { hashSource, type Source } from "./sources.ts";
import { convertTask, idOf, type MatrixTask, planTask } from "./tasks.ts";

/** What is found out before the first step: who builds, and the hash of everything that is read. */
export interface Prepared {
  readonly tasks: readonly MatrixTask[];
  /** Cells by the id of the plan that they are made from. */
  readonly cellsOfPlan: ReadonlyMap<string, readonly Cell[]>;
  /** By path. */
  readonly sources: ReadonlyMap<string, Source>;
  builderOf(cell: Cell): BuilderAtHand | null;
  pluginsOf(cell: Cell): SourceHashes;
}

export interface PrepareOptions {
  readonly version: string;
  readonly env: ToolEnvironment;
  readonly signal: AbortSignal;
  readonly cache: Cache;
}

/** The steps that are known before any is done: conversions and plans, each once. Errors: ENV020, TRT005. */
export async function prepare(cells: readonly Cell[], options: PrepareOptions): Promise<Prepared> {
  const [builders, sources] = await Promise.all([findBuilders(cells, options), hashSources(cells, options)]);
  const hashesOf = (path: string): SourceHashes => sources.get(path)?.hashes ?? {};
  const builderOf = (cell: Cell): BuilderAtHand | null => builders.get(wantedBuilder(cell)) ?? null;
  const pluginsOf = (cell: Cell): SourceHashes =>
    Object.fromEntries((cell.build.plugins ?? []).map((path, i) => [String(i), hashesOf(path)[""] ?? ""]));
  const tasks = new Map<string, MatrixTask>();
  const cellsOfPlan = new Map<string, Cell[]>();
  for (const cell of cells) {
    const paths = pathsOf("convert", cell);
    const convert = convertKey(
      cell,
      options.version,
      Object.fromEntries(paths.map(([key, path]) => [key, hashesOf(path)])),
    );
    const size = paths.reduce((sum, [, path]) => sum + (sources.get(path)?.size ?? 0), 0);
    const convertId = idOf(convert);
    if (!tasks.has(convertId))
      tasks.set(convertId, convertTask({ key: convert, label: "convert", cell, uses: {} }, size));
    const builder = builderIdentity(builderOf(cell), cell.build.backend);
    const plan = planKey(cell, {
      version: options.version,
      checkpoint: convert.key,
      builder,
      plugins: pluginsOf(cell),
      adapters: (cell.build.lora_dir ?? []).map(hashesOf),
    });
    const planId = idOf(plan);
    if (!tasks.has(planId))
      tasks.set(planId, planTask({ key: plan, label: "plan", cell, uses: { convert: convertId } }));
    cellsOfPlan.set(planId, [...(cellsOfPlan.get(planId) ?? []), cell]);
  }
  return { tasks: [...tasks.values()], cellsOfPlan, sources, builderOf, pluginsOf };
}

/** The steps that fewer cells need. */
export function narrowed(prepared: Prepared, cells: readonly Cell[]): Prepared {
  const cellsOfPlan = new Map(
    [...prepared.cellsOfPlan]
      .map(([id, own]) => [id, own.filter(cell => cells.includes(cell))] as const)
      .filter(([, own]) => own.length > 0),
  );
  const plans = prepared.tasks.filter(({ id }) => cellsOfPlan.has(id));
  const needed = new Set(plans.flatMap(({ id, needs }) => [id, ...needs]));
  return { ...prepared, cellsOfPlan, tasks: prepared.tasks.filter(({ id }) => needed.has(id)) };
}

/** Cells that ask for the same builder get the same answer: looking starts programs. */
async function findBuilders(
  cells: readonly Cell[],
  { env, signal }: PrepareOptions,
): Promise<ReadonlyMap<string, BuilderAtHand | null>> {
  const asked = new Map(cells.map(cell => [wantedBuilder(cell), cell]));
  const found = [...asked].map(async ([wanted, { build, trtexecFlags }]) => {
    const builder = await findBuilder(build, { env, signal, trtexecFlags, optional: false });
    return [wanted, builder] as const;
  });
  return new Map(await Promise.all(found));
}

function wantedBuilder({ build: { backend, builder, python }, trtexecFlags }: Cell): string {
  return JSON.stringify([backend, builder, python ?? null, trtexecFlags.length > 0]);
}

async function hashSources(
  cells: readonly Cell[],
  { cache, signal }: PrepareOptions,
): Promise<ReadonlyMap<string, Source>> {
  const paths = cells.flatMap(cell => [
    ...pathsOf("convert", cell).map(([, path]) => path),
    ...(cell.build.plugins ?? []),
    ...(cell.build.lora_dir ?? []),
  ]);
  const hashed = new Map<string, Source>();
  for (const path of new Set(paths)) hashed.set(path, await hashSource(path, cache.memo, signal));
  return hashed;
}

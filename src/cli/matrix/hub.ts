import { type Cell, originOf } from "../../build/matrix/cell.ts";
import type { OptionTable } from "../../options/define.ts";
import { convertOptions } from "../../options/tables/convert.ts";
import { type HubContext, localPaths } from "../hub.ts";

const HUB_OPTIONS = Object.entries(convertOptions as OptionTable)
  .filter(([, { hub }]) => hub)
  .map(([key]) => key);

/** The cells with every model of the Hub in the cache, under its path there: steps are keyed by the files' hashes. */
export async function withLocalModels(cells: readonly Cell[], context: HubContext): Promise<readonly Cell[]> {
  const known = new Map<string, string>();
  const local: Cell[] = [];
  for (const cell of cells) local.push(await withLocal(cell, context, known));
  return local;
}

async function withLocal(cell: Cell, context: HubContext, known: Map<string, string>): Promise<Cell> {
  const values = cell.convert as unknown as Readonly<Record<string, string | undefined>>;
  const paths: Record<string, string> = {};
  for (const key of HUB_OPTIONS) {
    const value = values[key];
    if (value === undefined) continue;
    const revision = key === "model_dir" ? cell.convert.revision : undefined;
    const id = JSON.stringify([value, revision ?? null]);
    const origin = originOf(cell, "convert");
    const path = known.get(id) ?? (await localPaths({ ...context, origin }, [{ key, value, revision }])).paths[0];
    if (path === undefined) continue;
    known.set(id, path);
    paths[key] = path;
  }
  return { ...cell, convert: { ...cell.convert, ...paths, revision: undefined } };
}

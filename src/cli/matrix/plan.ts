import { resolve } from "node:path";
import type { Cache } from "../../build/cache/store.ts";
import type { Cell, MatrixFile } from "../../build/matrix/cell.ts";
import { History } from "../../build/matrix/history.ts";
import type { Prepared } from "../../build/matrix/prepare.ts";
import { formatTable } from "../ui.ts";
import type { MatrixCommand } from "./context.ts";

/** What a run would do, as far as it is known before a checkpoint is there; with --explain why. */
export async function showPlan(
  { options, ui, signal }: MatrixCommand,
  {
    file,
    cells,
    prepared,
    cache,
  }: { readonly file: MatrixFile; readonly cells: readonly Cell[]; readonly prepared: Prepared; readonly cache: Cache },
): Promise<void> {
  const history = await History.load(cache, resolve(file.file));
  const steps = await Promise.all(
    prepared.tasks.map(async task => {
      const { state } = await cache.find(task.step.key, signal);
      const { label, cell, key } = task.step;
      const reason = state === "found" ? null : history.reason(cell.name, label, key);
      return { id: task.id, label, cell: cell.name, state: state === "found" ? "cached" : "to do", reason };
    }),
  );
  const rows = cells.map(cell => [cell.name, ...["convert", "plan"].map(label => stateOf(cell, label))]);
  function stateOf(cell: Cell, label: string): string {
    const plan = [...prepared.cellsOfPlan].find(([, own]) => own.includes(cell))?.[0];
    const convert = prepared.tasks.find(({ id }) => id === plan)?.needs[0];
    return steps.find(({ id }) => id === (label === "plan" ? plan : convert))?.state ?? "";
  }
  const why = options.explain
    ? steps.flatMap(({ label, cell, reason }) => (reason === null ? [] : [`${label} of ${cell}: ${reason}`]))
    : [];
  ui.result([formatTable(["cell", "convert", "plan"], rows), ...why].join("\n"), {
    cells: cells.map(({ name, axes, convert, build }) => ({ name, axes, convert, build })),
    steps,
  });
}

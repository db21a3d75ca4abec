import type { CellResult, MatrixResult, StepResult } from "../../build/matrix/events.ts";
import type { Problem } from "../../diagnostics/index.ts";
import { bars } from "../bars.ts";
import { figure } from "../draw.ts";
import { Html, html } from "../html.ts";
import { STYLE } from "../style.ts";
import { bytes, byteUnit, seconds, table } from "../text.ts";
import { timeline } from "./timeline.ts";

const STYLES = new Html(STYLE);
const STATES = { built: "built", unchanged: "unchanged", failed: "failed", skipped: "skipped" } as const;
const KINDS = ["convert", "plan", "graph", "engine", "cell"] as const;
/** More rows than this are too many for a figure; the table has all. */
const MAX_ROWS = 60;

/** A run of a matrix as one page that loads nothing from elsewhere. */
export function matrixPage(result: MatrixResult, date: Date): string {
  const { cells, steps } = result;
  const failed = cells.filter(({ state }) => state === "failed");
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="generator" content="mmtrt ${result.version}">
<title>Engine matrix: ${result.file}</title>
<style>${STYLES}</style>
</head>
<body>
<main>
<h1>Engine matrix</h1>
<p class="muted">${result.file}${result.shard === null ? null : `, shard ${result.shard}`}, by mmtrt ${result.version}, ${date.toISOString().slice(0, 16).replace("T", " ")} UTC</p>
${facts(result)}
${failed.map(cell => cell.problems.map(problem => problemBox(cell, problem)))}
${cellTable(cells)}
${sizeFigure(cells)}
${timeFigure(cells, steps)}
${timelineFigure(result)}
${stepTable(steps)}
</main>
</body>
</html>
`;
  return page.text;
}

function facts({ cells, steps, seconds: total, workers }: MatrixResult): Html {
  const count = (state: string): number => cells.filter(cell => cell.state === state).length;
  const done = steps.filter(({ state }) => state === "done");
  const spent = done.reduce((sum, step) => sum + step.seconds, 0);
  const states = Object.values(STATES)
    .filter(state => count(state) > 0)
    .map(state => `${count(state)} ${state}`);
  const saved = cells.reduce((sum, cell) => sum + cell.seconds, 0) - spent;
  return html`<dl><dt>cells</dt><dd>${states.join(", ")}</dd>
<dt>steps</dt><dd>${done.length} done, ${steps.filter(({ state }) => state === "cached").length} found in the cache</dd>
<dt>time</dt><dd>${seconds(total)} with ${workers} workers, for ${seconds(spent)} of work; ${seconds(Math.max(0, saved))} saved by sharing and the cache</dd></dl>`;
}

function problemBox({ name }: CellResult, { code, what, at, why, fix }: Problem): Html {
  return html`<div class="problem error"><b>${name}: error[${code}]: ${what}</b><br><span class="muted">at</span> <code>${at}</code><br>
<span class="muted">why</span> ${why}<br><span class="muted">fix</span> ${fix}</div>`;
}

function cellTable(cells: readonly CellResult[]): Html {
  const axes = [...new Set(cells.flatMap(cell => Object.keys(cell.axes)))];
  const rows = cells.map(({ name, axes: own, state, engine_bytes: size, memory_bytes: memory, seconds: took }) => [
    name,
    ...axes.map(axis => String(own[axis] ?? "")),
    state,
    size === 0 ? "" : bytes(size),
    memory === null ? "" : bytes(memory),
    seconds(took),
  ]);
  return html`<h2>Cells</h2>${table(["cell", ...axes, "state", "engines", "GPU memory", "steps"], rows)}`;
}

function sizeFigure(cells: readonly CellResult[]): Html | null {
  const built = cells.filter(({ engine_bytes: size }) => size > 0).slice(0, MAX_ROWS);
  if (built.length === 0) return null;
  const rows = built.map(({ name }) => name);
  const series = [{ name: "engines", values: built.map(cell => cell.engine_bytes) }];
  return figure("Size of the engines of a cell", [], width =>
    bars({ rows, series, format: bytes, unitOf: byteUnit }, width),
  );
}

function timeFigure(cells: readonly CellResult[], steps: readonly StepResult[]): Html | null {
  const shown = cells.slice(0, MAX_ROWS);
  const rows = shown.map(({ name }) => name);
  const series = KINDS.map(kind => ({
    name: kind,
    values: rows.map(name =>
      steps.reduce((sum, step) => (step.kind === kind && step.cells.includes(name) ? sum + step.seconds : sum), 0),
    ),
  })).filter(({ values }) => values.some(value => value > 0));
  if (series.length === 0) return null;
  return html`<h2>Time</h2>
<p>What each cell needs, shared steps counted for every cell that they are for; steps of the cache with the time that they took when they were done.</p>
${figure(
  "Steps of a cell by kind",
  series.map(({ name }) => name),
  width => bars({ rows, series, format: seconds }, width),
)}`;
}

function timelineFigure({ steps, workers, seconds: total }: MatrixResult): Html | null {
  const ran = steps.filter(step => step.started !== null && step.slot !== null);
  if (ran.length === 0) return null;
  const kinds = KINDS.filter(kind => ran.some(step => step.kind === kind));
  const spans = ran.map(({ started, slot, seconds: took, kind }) => ({
    row: slot ?? 0,
    from: started ?? 0,
    to: (started ?? 0) + took,
    series: kinds.indexOf(kind),
  }));
  const rows = Array.from({ length: workers }, (_, i) => `worker ${i}`).slice(0, MAX_ROWS);
  return figure("What every worker did when", kinds, width =>
    timeline({ rows, spans, end: total, format: seconds }, width),
  );
}

function stepTable(steps: readonly StepResult[]): Html {
  const rows = steps.map(({ label, cells, state, seconds: took, bytes: size, peak_bytes: peak, reason }) => [
    label,
    cells[0] ?? "",
    cells.length,
    state,
    seconds(took),
    size === 0 ? "" : bytes(size),
    peak === null ? "" : bytes(peak),
    state === "done" ? (reason ?? "") : "",
  ]);
  return html`<h2>Steps</h2>
<details><summary>all ${steps.length} steps</summary>${table(["step", "first cell", "cells", "state", "time", "result", "memory", "done because"], rows)}</details>`;
}

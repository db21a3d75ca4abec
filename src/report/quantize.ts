import type { LayerError } from "../build/quantize/compare.ts";
import type { Trial } from "../build/quantize/search.ts";
import { bars } from "./bars.ts";
import { figure } from "./draw.ts";
import { Html, html } from "./html.ts";
import { STYLE } from "./style.ts";
import { bytes, table } from "./text.ts";

export interface QuantizeReport {
  readonly version: string;
  readonly model: string;
  readonly trials: readonly Trial[];
  readonly chosen: string | null;
  /** Of the float model, and what was asked for; null where nothing was asked. */
  readonly float: { readonly accuracy: number; readonly correct: number; readonly total: number } | null;
  readonly least: number | null;
  /** Formats that the model cannot have: name and reason. */
  readonly refused: readonly (readonly [string, string])[];
  readonly date: Date;
}

/** Layers beyond this many are left to the table: bars would be thinner than their names. */
const MAX_ROWS = 100;

/** Formats side by side, and of each the error of every layer, as one page that loads nothing. */
export function renderQuantizeReport(report: QuantizeReport): string {
  const title = `Quantization of ${report.model}`;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="generator" content="mmtrt ${report.version}">
<title>${title} — mmtrt quantize</title>
<style>${new Html(STYLE)}</style>
</head>
<body>
<main>
<h1>${title}</h1>
<p class="muted">by mmtrt ${report.version}, ${report.date.toISOString().slice(0, 16).replace("T", " ")} UTC</p>
${summary(report)}
${report.trials.map(layerSection)}
</main>
</body>
</html>
`.text;
}

function summary({ trials, chosen, float, least, refused }: QuantizeReport): Html {
  const rows = trials.map(trial => [
    trial.format === chosen ? `${trial.format} (chosen)` : trial.format,
    trial.quant_algo ?? "none",
    bytes(trial.bytes),
    percent(trial.bytes / trial.float_bytes),
    trial.accuracy === null ? "" : percent(trial.accuracy),
    worstOf(trial.layers)?.module ?? "",
    worstOf(trial.layers)?.relative.toFixed(4) ?? "",
  ]);
  const head = ["format", "algorithm", "size", "of float", "accuracy", "worst layer", "its relative error"];
  const asked = least === null ? "" : `; at least ${percent(least)} was asked for`;
  return html`${float === null ? null : html`<p>In float ${percent(float.accuracy)} (${float.correct} of ${float.total})${asked}.</p>`}
${table(head, rows)}
${refused.map(([format, reason]) => html`<p class="muted">${format}: ${reason}</p>`)}`;
}

function layerSection({ format, layers, not_compared }: Trial): Html {
  const rows = [...layers].sort((a, b) => b.relative - a.relative);
  const shown = rows.slice(0, MAX_ROWS);
  const names = shown.map(nameOf);
  const values = shown.map(({ relative }) => relative);
  const details = rows.map(layer => [
    nameOf(layer),
    layer.relative.toExponential(3),
    layer.max_abs.toExponential(3),
    layer.cosine.toFixed(7),
  ]);
  return html`<h2>${format}</h2>
${not_compared === 0 ? null : html`<p>${not_compared} layers are smoothed or kept in float and not compared by weight.</p>`}
${shown.length === 0 ? null : figure("Relative error of each layer's weight, ‖Ŵ − W‖ / ‖W‖", [], width => bars({ rows: names, series: [{ name: format, values }], format: value => String(Number(value.toPrecision(3))), unitOf: unit }, width))}
<details><summary>every layer</summary>${table(["layer", "relative error", "largest error", "cosine"], details)}</details>`;
}

/** Bars are far below 1: ticks are decimal parts. */
const unit = (value: number): number => 10 ** Math.floor(Math.log10(value > 0 ? value : 1));

/** "layers.3.mlp.fc", with the rank where there are several. */
export function nameOf({ module, rank }: LayerError): string {
  const name = module.replace(/^transformer\./, "");
  return rank === 0 ? name : `${name} (rank ${rank})`;
}

export function worstOf(layers: readonly LayerError[]): LayerError | undefined {
  return layers.reduce<LayerError | undefined>(
    (worst, layer) => (worst === undefined || layer.relative > worst.relative ? layer : worst),
    undefined,
  );
}

const percent = (part: number): string => `${(part * 100).toFixed(2)} %`;

import { showBytes } from "../rules/rule.ts";
import { type Html, html } from "./html.ts";

export const bytes = showBytes;

/** KiB, MiB, …: the one that showBytes writes a number in. */
export function byteUnit(value: number): number {
  return value < 1 ? 1 : 1024 ** Math.min(4, Math.floor(Math.log2(value) / 10));
}

export function seconds(value: number): string {
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  return value < 100 ? `${value.toFixed(1)} s` : `${Math.round(value)} s`;
}

export function count(value: number): string {
  return value.toLocaleString("en-US");
}

/** Numbers are set right; a wide table scrolls by itself. */
export function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): Html {
  const isNumber = head.map((_, i) => rows.length > 0 && rows.every(row => typeof row[i] === "number"));
  const style = (i: number): string => (isNumber[i] ? "number" : "");
  return html`<div class="scroll"><table><thead><tr>${head.map((name, i) => html`<th class="${style(i)}">${name}</th>`)}</tr></thead>
<tbody>${rows.map(row => html`<tr>${row.map((cell, i) => html`<td class="${style(i)}">${typeof cell === "number" ? count(cell) : cell}</td>`)}</tr>`)}</tbody></table></div>`;
}

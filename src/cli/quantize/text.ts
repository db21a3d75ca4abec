import { nameOf, type QuantizeReport, worstOf } from "../../report/quantize.ts";
import { showBytes } from "../../rules/rule.ts";
import { formatTable } from "../ui.ts";

/** Layers shown as text; --json and --report have them all. */
const SHOWN = 12;

/** Formats side by side; of a single one also the layers that lost most. */
export function reportText({ trials, chosen, float, least, refused }: QuantizeReport): string {
  const percent = (part: number | null | undefined): string => (part == null ? "" : `${(part * 100).toFixed(2)} %`);
  const rows = trials.map(trial => {
    const worst = worstOf(trial.layers);
    return [
      trial.format,
      showBytes(trial.bytes),
      percent(trial.bytes / trial.float_bytes),
      percent(trial.accuracy),
      worst && nameOf(worst),
      worst?.relative.toFixed(5),
      worst?.cosine.toFixed(6),
      trial.format === chosen ? "chosen" : trial.kept === false ? "too inaccurate" : "",
    ];
  });
  const head = ["format", "size", "of float", "accuracy", "worst layer", "rel. error", "cosine", ""];
  const asked = least === null ? "" : `, at least ${percent(least)} asked for`;
  return [
    formatTable(head, rows),
    ...(float === null ? [] : [`float: ${percent(float.accuracy)} (${float.correct} of ${float.total})${asked}`]),
    ...refused.map(([format, reason]) => `${format}: ${reason}`),
    ...(trials.length === 1 && chosen === null ? [worstLayers(trials[0]?.layers ?? [])] : []),
  ].join("\n");
}

function worstLayers(layers: QuantizeReport["trials"][number]["layers"]): string {
  const worst = [...layers].sort((a, b) => b.relative - a.relative).slice(0, SHOWN);
  if (worst.length === 0) return "no layer was compared";
  const rows = worst.map(layer => [
    nameOf(layer),
    layer.relative.toFixed(5),
    layer.max_abs.toExponential(2),
    layer.cosine.toFixed(6),
  ]);
  return `\n${formatTable([`worst ${worst.length} of ${layers.length} layers`, "rel. error", "max abs", "cosine"], rows)}`;
}

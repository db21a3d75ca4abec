import { type Problem, throwIfAny } from "../../diagnostics/index.ts";
import type { Assistant } from "../../runtime/assistant.ts";
import { type PasskeyReport, passkeyReport } from "../../runtime/passkey/report.ts";
import { checkLengths, findPasskeys, usualLengths } from "../../runtime/passkey/retrieval.ts";
import { noteWindow } from "../run/window-note.ts";
import { formatTable } from "../ui.ts";
import type { EvalContext } from "./context.ts";

/** Wrong answers shown as text; --json has them all. */
const SHOWN = 5;

/** Whether the model finds a number in a long text, by length and depth. */
export async function runPasskey(assistant: Assistant, { options, ui, signal, origin }: EvalContext): Promise<void> {
  const { prompt_format: format, depths, samples, seed } = options;
  const at = origin("context_len");
  const asked = options.context_len ?? (await usualLengths(assistant, format));
  const contextLengths = ascending(asked);
  await checkLengths(assistant, { contextLengths, format, at });
  notePositions(assistant, contextLengths, ui);
  noteWindow(assistant, contextLengths.at(-1) ?? 0, ui);
  const found = await findPasskeys(assistant, {
    contextLengths,
    depths: ascending(depths),
    samples,
    seed,
    format,
    at,
    signal,
    onProgress: (done, total) => ui.progress({ id: "eval", label: "hiding pass keys", done, total, unit: "texts" }),
  });
  const report = passkeyReport(found);
  const { trained_positions = null, sliding_window = null } = assistant.session.engine.manifest.model;
  ui.result(passkeyText(report), { ...report, seed, samples, trained_positions, sliding_window });
  throwIfAny(belowAccuracy(report, options.min_accuracy, origin("min_accuracy")));
}

function notePositions(assistant: Assistant, lengths: readonly number[], ui: EvalContext["ui"]): void {
  const { trained_positions: trained } = assistant.session.engine.manifest.model;
  const beyond = lengths.filter(length => length > (trained ?? Number.POSITIVE_INFINITY));
  if (trained == null || beyond.length === 0) return;
  const text = `note: ${beyond.join(", ")} tokens are more than the ${trained} positions that the model was trained for`;
  ui.info(`${text}; keys missed there say nothing about the engine`, { trained_positions: trained, beyond });
}

/** A row for each length, a column for each depth. */
function passkeyText({ lengths, cells, missed, found, total, longest_found: longest }: PasskeyReport): string {
  const depths = ascending(cells.map(({ depth }) => depth));
  const rows = lengths.map(({ context_len, found, total, prefill_ms }) => [
    String(context_len),
    ...depths.map(depth => {
      const cell = cells.find(one => one.context_len === context_len && one.depth === depth);
      return `${cell?.found}/${cell?.total}`;
    }),
    `${found}/${total}`,
    `${(prefill_ms / 1000).toFixed(2)} s`,
  ]);
  const head = ["tokens", ...depths.map(depth => `${depth} %`), "all", "prefill"];
  const answers = missed
    .slice(0, SHOWN)
    .map(miss => `${miss.context_len} tokens, ${miss.depth} %: expected ${miss.key}, answered ${shown(miss.answer)}`);
  const rest = missed.length > SHOWN ? [`… and ${missed.length - SHOWN} more (--json lists all)`] : [];
  const verdict = longest === null ? "no length has all of them" : `all of them up to ${longest} tokens`;
  return [formatTable(head, rows), ...answers, ...rest, `found ${found} of ${total} pass keys; ${verdict}`].join("\n");
}

function shown(answer: string): string {
  return JSON.stringify(answer.trim().slice(0, 60));
}

function belowAccuracy(report: PasskeyReport, least: number | undefined, at: string): readonly Problem[] {
  if (least === undefined || report.accuracy >= least) return [];
  return [
    {
      code: "NUM003",
      what: `accuracy is ${report.accuracy.toFixed(4)} (${report.found} of ${report.total} pass keys); expected at least ${least}`,
      at,
      why: "the model does not find what stands that far back in a text",
      fix: "ask for the lengths that it was trained for, or scale its rotary positions (docs/guide/long-context.md)",
    },
  ];
}

function ascending(values: readonly number[]): readonly number[] {
  return [...new Set(values)].sort((a, b) => a - b);
}

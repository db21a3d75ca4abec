import { throwIfAny } from "../../diagnostics/index.ts";
import { showBytes } from "../../rules/rule.ts";
import type { Assistant } from "../../runtime/assistant.ts";
import type { DeviceMemory } from "../../runtime/generation.ts";
import { type Latency, type ProfileReport, profile } from "../../runtime/profile.ts";
import { compareProfiles, grownTooMuch, type ProfileChange, readProfile } from "../../runtime/profile-compare.ts";
import { type Cell, formatTable } from "../ui.ts";
import { forEachTask, withTasks } from "./adapters.ts";
import { withPairing } from "./pairing.ts";
import { askOptions, questionsOf, type RunContext } from "./request.ts";
import { noteReuse, reuseData } from "./reuse.ts";

/** Times the request of the command line and prints percentiles and rates. */
export async function runProfiling(assistant: Assistant, context: RunContext): Promise<void> {
  const { options, ui, signal, origin } = context;
  const questions = withTasks(forEachTask(await questionsOf(assistant, options, origin), options), assistant, context);
  const total = options.profiling_iterations;
  // Before the work: a file that cannot be used is known at once.
  const before = options.compare === undefined ? undefined : await readProfile(options.compare);
  const report = await profile({
    iterations: total,
    batchSize: questions.length,
    numBeams: options.num_beams,
    run: () => withPairing(assistant, context, () => assistant.ask(questions, { ...askOptions(context), signal })),
    onIteration: done => ui.progress({ id: "profiling", label: "profiling", done, total }),
  });
  const { compare: file = "", compare_tolerance: tolerance } = options;
  const changes = before && compareProfiles(report, before, tolerance, file);
  const text = [profileText(report), ...(changes === undefined ? [] : [changesText(changes, file)])].join("\n");
  ui.result(text, { profile: report, ...(changes && { changes }), ...reuseData(assistant.session) });
  noteReuse(assistant.session, ui);
  const problem = changes && grownTooMuch(changes, tolerance, origin("compare"));
  throwIfAny(problem === undefined ? [] : [problem]);
}

/** What was and what is, one line for each number. */
export function changesText(changes: readonly ProfileChange[], file: string): string {
  const shown = (value: number, unit: ProfileChange["unit"]): string =>
    unit === "bytes" ? showBytes(value) : `${value.toFixed(2)} ms`;
  const rows = changes.map(({ what, unit, before, now, grown, isWorse }): readonly Cell[] => {
    const change = `${grown < 0 ? "−" : "+"}${Math.abs(grown * 100).toFixed(1)} %`;
    return [what, shown(before, unit), shown(now, unit), change, isWorse ? "worse" : undefined];
  });
  return formatTable([`since ${file}`, "before", "now", "change", ""], rows);
}

export function profileText(report: ProfileReport): string {
  const round = (value: number): number => Math.round(value * 100) / 100;
  const row = (name: string, latency: Latency | null, tokensPerSecond: number | null): readonly Cell[] => {
    const times = latency === null ? [] : [latency.mean, latency.p50, latency.p90, latency.p99].map(round);
    const rate = tokensPerSecond === null ? undefined : round(tokensPerSecond);
    return [name, times[0], times[1], times[2], times[3], rate];
  };
  const rate = report.tokens_per_second;
  const table = formatTable(
    ["ms", "mean", "p50", "p90", "p99", "tokens/s"],
    [
      row("vision encoder", report.visual_ms, null),
      row("prefill", report.prefill_ms, rate.prefill),
      row("decode step", report.decode_ms, rate.decode),
      row("whole request", report.total_ms, rate.total),
    ],
  );
  const reused = report.reused_tokens > 0 ? ` (${report.reused_tokens} reused)` : "";
  const head = `batch ${report.batch_size}, ${report.num_beams} beam(s), ${report.prompt_tokens} prompt tokens${reused}, ${report.new_tokens} new tokens (at most ${report.max_new_tokens} an answer), ${report.iterations} iterations after one warm-up`;
  return [head, table, ...memoryText(report.memory)].join("\n");
}

/** What the device holds of each kind, and held at most. */
function memoryText(memory: DeviceMemory | undefined): readonly string[] {
  const kinds = Object.entries(memory ?? {}).flatMap(([name, value]) => {
    const { bytes, peak_bytes: peak = bytes } = (value ?? {}) as {
      readonly bytes?: number;
      readonly peak_bytes?: number;
    };
    return peak === undefined || peak === 0 ? [] : [`${name} ${showBytes(peak)}`];
  });
  return kinds.length === 0 ? [] : [`memory at most: ${kinds.join(", ")}`];
}

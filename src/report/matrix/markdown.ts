import type { MatrixResult } from "../../build/matrix/events.ts";
import { bytes, seconds } from "../text.ts";

const SIGNS = { built: "✅ built", unchanged: "✅ unchanged", failed: "❌ failed", skipped: "⏭️ skipped" } as const;

/** For a pull request or the summary of a CI job. */
export function markdownReport({ cells, steps, seconds: total, shard }: MatrixResult): string {
  const count = (state: string): number => steps.filter(step => step.state === state).length;
  const rows = cells.map(({ name, state, engine_bytes: size, memory_bytes: memory, seconds: took }) =>
    row([
      `\`${name}\``,
      SIGNS[state],
      size === 0 ? "" : bytes(size),
      memory === null ? "" : bytes(memory),
      seconds(took),
    ]),
  );
  const failures = cells.flatMap(({ name, problems }) =>
    problems.map(({ code, what, fix }) => `- \`${name}\` **${code}** ${escapeMarkdown(what)}. ${escapeMarkdown(fix)}`),
  );
  return [
    `### Engine matrix${shard === null ? "" : `, shard ${shard}`}`,
    "",
    `${cells.length} cells in ${seconds(total)}: ${count("done")} steps done, ${count("cached")} found in the cache, ${count("failed")} failed.`,
    "",
    row(["cell", "state", "engines", "GPU memory", "steps"]),
    row(["---", "---", "--:", "--:", "--:"]),
    ...rows,
    "",
    ...(failures.length === 0 ? [] : ["#### Failures", "", ...failures, ""]),
  ].join("\n");
}

function row(cells: readonly string[]): string {
  return `| ${cells.map(cell => cell.replaceAll("|", "\\|").replaceAll("\n", " ")).join(" | ")} |`;
}

function escapeMarkdown(text: string): string {
  return text.replaceAll(/[\\`*_[\]<>#|]/g, "\\$&").replaceAll("\n", " ");
}

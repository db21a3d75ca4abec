import type { BuildPlan } from "../build/plan.ts";
import type { EngineStatistics } from "../build/statistics.ts";
import type { Problem } from "../diagnostics/index.ts";
import { Html, html } from "./html.ts";
import type { BuildResult } from "./result.ts";
import {
  graphSection,
  memorySection,
  profileSection,
  tensorrtSection,
  timeSection,
  weightSection,
} from "./sections.ts";
import { STYLE } from "./style.ts";
import { bytes, seconds, table } from "./text.ts";

export interface ReportInput {
  readonly plan: BuildPlan;
  readonly statistics: readonly EngineStatistics[];
  /** Null when nothing was built: a plan alone, or a directory that was up to date. */
  readonly result: BuildResult | null;
  /** When the report is made. */
  readonly date: Date;
}

/** Everything known about a plan and its build as one HTML page that loads nothing: no script, font, picture or style of elsewhere. */
export function renderReport(input: ReportInput): string {
  const { plan } = input;
  const title = `${plan.model.architecture} for ${plan.backend}`;
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="generator" content="mmtrt ${plan.version}">
<title>${title} — mmtrt build</title>
<style>${STYLES}</style>
</head>
<body>
<main>
<h1>${title}</h1>
<p class="muted">${input.result === null ? "plan" : "build"} by mmtrt ${plan.version}, ${input.date.toISOString().slice(0, 16).replace("T", " ")} UTC</p>
${plan.problems.map(problem => problemBox(problem, "error"))}
${plan.warnings.map(problem => problemBox(problem, "warning"))}
${summary(input)}
${memorySection(plan)}
${profileSection(plan)}
${graphSection(plan, input.statistics)}
${weightSection(input.statistics)}
${input.result === null ? null : [timeSection(input.result), tensorrtSection(input.result)]}
</main>
</body>
</html>
`;
  return page.text;
}

const STYLES = new Html(STYLE);

function problemBox({ code, what, at, why, fix }: Problem, kind: "error" | "warning"): Html {
  return html`<div class="problem ${kind}"><b>${kind}[${code}]: ${what}</b><br><span class="muted">at</span> <code>${at}</code><br>
<span class="muted">why</span> ${why}<br><span class="muted">fix</span> ${fix}</div>`;
}

/** What it is, where it comes from, and the stamp that a later build is compared with. */
function summary({ plan, result }: ReportInput): Html {
  const facts: readonly (readonly [string, string | null])[] = [
    ["checkpoint", plan.checkpoint_dir],
    ["engines", plan.output_dir],
    ["fingerprint", plan.fingerprint === "" ? null : plan.fingerprint],
    ["builder", builderOf(plan)],
    [
      "built",
      result &&
        `${seconds(result.seconds)}; ${bytes(result.written_bytes)} written, ${bytes(result.linked_bytes)} linked`,
    ],
    [
      "fullest GPU",
      `${bytes(plan.memory.peak)}${plan.gpu === null ? "" : ` of the ${bytes(plan.gpu.memory_mib * 1024 ** 2)} of ${plan.gpu.name}`}`,
    ],
  ];
  const rows = plan.engines.map(({ name, options, graph }) => [
    name,
    options.computeDtype,
    bytes(graph.onnx_bytes),
    bytes(graph.weight_bytes),
    graph.onnx_sha256.slice(0, 16),
  ]);
  return html`<dl>${facts.map(([name, text]) => (text === null ? null : html`<dt>${name}</dt><dd>${text}</dd>`))}</dl>
${rows.length === 0 ? null : table(["engine", "dtype", "graph", "weights", "SHA-256 of the graph"], rows)}
${options(plan)}`;
}

function builderOf({ builder, backend }: BuildPlan): string | null {
  if (builder !== null) return `${builder.found.builder} ${builder.found.version ?? ""}`.trimEnd();
  return backend === "onnxruntime" ? null : "none found on this machine";
}

/** Resolved options, and which of them mmtrt chose. */
function options(plan: BuildPlan): Html {
  const chosen = new Map(plan.adjustments.map(({ option, why }) => [option, why]));
  const rows = Object.entries(plan.options).map(([name, value]) => [name, showValue(value), chosen.get(name) ?? ""]);
  return html`<details><summary>options</summary>${table(["option", "value", "chosen because"], rows)}</details>`;
}

function showValue(value: unknown): string {
  return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value ?? "");
}

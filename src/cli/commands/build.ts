import type { BuildEvent } from "../../build/events.ts";
import type { BuilderAtHand } from "../../build/find-builder.ts";
import type { BuildPlan } from "../../build/plan.ts";
import { planBuild } from "../../build/plan-build.ts";
import { throwIfAny } from "../../diagnostics/index.ts";
import { environment } from "../../options/env.ts";
import { type BuildOptions, buildOptions } from "../../options/tables/build.ts";
import { showBytes } from "../../rules/rule.ts";
import type { BuildReport } from "../build-report.ts";
import { defineCommand } from "../command.ts";
import type { Ui } from "../ui.ts";
import { VERSION } from "../version.ts";

type BuiltEngine = Extract<BuildEvent, { event: "built" }>["engines"][number];

export const build = defineCommand({
  name: "build",
  options: buildOptions,
  async run({ options, origin, given, passthrough: trtexecFlags, ui, signal }) {
    const builder = await builderFor(options, trtexecFlags, signal);
    const plan = await planBuild(options, { version: VERSION, origin, given, builder, trtexecFlags });
    for (const warning of plan.warnings) ui.warn(warning);
    const report = options.report === undefined ? undefined : await reportTo(options.report, plan);
    if (options.plan) {
      const { planText } = await import("../build-view.ts");
      ui.result(planText(plan), { ...plan });
      await report?.write();
      throwIfAny(plan.problems);
      return;
    }
    for (const { option, from, to, why } of plan.adjustments) {
      ui.info(`${option} ${from ?? "(not given)"} → ${to}: ${why}`, { option, from, to, why });
    }
    // Also runPlan's first act; done here, a refused plan does not load the code that carries it out.
    throwIfAny(plan.problems);
    const { runPlan } = await import("../../build/run-plan.ts");
    for await (const event of runPlan(plan, signal)) {
      report?.add(event);
      // The answer is last, so the page is there when it says that all is done.
      if (event.event === "built" || event.event === "fresh") await report?.write();
      show(ui, event, plan);
    }
  },
});

/** Looking a builder up starts programs, so a plan is made from what was found; ONNX Runtime needs none. */
async function builderFor(
  options: BuildOptions,
  trtexecFlags: readonly string[],
  signal: AbortSignal,
): Promise<BuilderAtHand | null> {
  if (options.backend === "onnxruntime") return null;
  const { findBuilder } = await import("../../build/find-builder.ts");
  return findBuilder(options, { env: environment(), signal, trtexecFlags, optional: options.plan });
}

/** With its plotting library: only for who asks. */
async function reportTo(file: string, plan: BuildPlan): Promise<BuildReport> {
  const { BuildReport } = await import("../build-report.ts");
  return BuildReport.open(file, plan);
}

function show(ui: Ui, event: BuildEvent, plan: BuildPlan): void {
  switch (event.event) {
    case "fresh":
      ui.result(`nothing to do: ${event.dir} is up to date: ${event.reason}`, {
        output_dir: event.dir,
        status: "unchanged",
        reason: event.reason,
      });
      return;
    case "built":
      ui.result(
        `built: ${event.dir} (${plan.engines.length} engine${plan.engines.length === 1 ? "" : "s"} for ${plan.backend}; ` +
          `${showBytes(event.written_bytes)} written, ${showBytes(event.linked_bytes)} linked, ${event.seconds.toFixed(2)} s)` +
          memoryOf(event.engines),
        { output_dir: event.dir, status: "built", ...withoutEvent(event) },
      );
      return;
    case "progress":
      ui.progress(event);
      return;
    case "note":
      ui.info(event.message);
      return;
    case "builder":
      ui.info(`${event.id}: ${event.builder} ${event.version ?? ""}`.trimEnd(), withoutEvent(event));
      return;
    case "warning":
      ui.warn(event.problem);
      return;
    case "step":
    case "log":
      ui.event(event.event, withoutEvent(event));
  }
}

/** What each builder has held at most, beside what was predicted; nothing where it was not measured. */
function memoryOf(engines: readonly BuiltEngine[]): string {
  const mib = (n: number): string => showBytes(n * 1024 ** 2);
  const lines = engines.flatMap(({ name, peak_host_mib: peak, predicted_host_mib: predicted }) =>
    peak === null ? [] : [`\n  builder of ${name}: ${mib(peak)}${predicted ? `, predicted ${mib(predicted)}` : ""}`],
  );
  return lines.join("");
}

function withoutEvent(event: BuildEvent): Record<string, unknown> {
  const { event: _, ...rest } = event;
  return rest;
}

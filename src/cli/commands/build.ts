import type { BuildEvent } from "../../build/events.ts";
import type { BuildPlan } from "../../build/plan.ts";
import { planBuild } from "../../build/plan-build.ts";
import { throwIfAny } from "../../diagnostics/index.ts";
import { buildOptions } from "../../options/tables/build.ts";
import { showBytes } from "../../rules/rule.ts";
import { planText } from "../build-view.ts";
import { defineCommand } from "../command.ts";
import type { Ui } from "../ui.ts";
import { VERSION } from "../version.ts";

export const build = defineCommand({
  name: "build",
  options: buildOptions,
  async run({ options, origin, given, ui, signal }) {
    const plan = await planBuild(options, { version: VERSION, origin, given });
    for (const warning of plan.warnings) ui.warn(warning);
    if (options.plan) {
      ui.result(planText(plan), { ...plan });
      throwIfAny(plan.problems);
      return;
    }
    for (const { option, from, to, why } of plan.adjustments) {
      ui.info(`${option} ${from ?? "(not given)"} → ${to}: ${why}`, { option, from, to, why });
    }
    const { runPlan } = await import("../../build/run-plan.ts");
    for await (const event of runPlan(plan, signal)) show(ui, event, plan);
  },
});

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
          `${showBytes(event.written_bytes)} written, ${showBytes(event.linked_bytes)} linked, ${event.seconds.toFixed(2)} s)`,
        { output_dir: event.dir, status: "built", ...withoutEvent(event) },
      );
      return;
    case "progress":
      ui.progress(event);
      return;
    case "note":
      ui.info(event.message);
      return;
    case "step":
      ui.event("step", withoutEvent(event));
  }
}

function withoutEvent(event: BuildEvent): Record<string, unknown> {
  const { event: _, ...rest } = event;
  return rest;
}

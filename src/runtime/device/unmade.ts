import { type Problem, throwIfAny } from "../../diagnostics/index.ts";
import { arrangesFeatures } from "../../vision/index.ts";
import { positionAxes } from "../positions.ts";
import type { RunnableEngine } from "../runnable.ts";

/** What an engine directory needs of whoever feeds it, and the runner does not make. Errors: RUN056, one for all of it. */
export function refuseUnmade({ llm, manifest: { model } }: Pick<RunnableEngine, "llm" | "manifest">): void {
  const unmade = [
    ...(model.visual_tokens?.kind === "patches" ? ["the tables of packed patches"] : []),
    ...(model.visual_tokens && arrangesFeatures(model.visual_tokens)
      ? ["rows of tiles with a newline after each"]
      : []),
    ...(positionAxes(llm) > 1 ? ["positions on three axes"] : []),
    ...(llm.io.some(({ name }) => name === "deepstack_table") ? ["deepstack_table"] : []),
  ];
  throwIfAny(unmade.length === 0 ? [] : [notMade(model.architecture, unmade)]);
}

function notMade(architecture: string, unmade: readonly string[]): Problem {
  const [last = "", ...before] = unmade.toReversed();
  const all = before.length === 0 ? last : `${before.toReversed().join(", ")} and ${last}`;
  return {
    code: "RUN056",
    what: `${architecture} takes ${all}, which the runner does not make`,
    at: "--engine_dir",
    why: "where patches and tokens stand in a picture follows from its size, and without it answers would be wrong",
    fix: "run without --runner and --device, on the CPU",
  };
}

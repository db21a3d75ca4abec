import { relative } from "node:path";
import { throwIfAny } from "../../diagnostics/index.ts";
import type { JsonObject } from "../../formats/json.ts";
import type { BuildPlan } from "../plan.ts";
import { planBuild } from "../plan-build.ts";
import { type Cell, originOf } from "./cell.ts";
import type { StepContext } from "./context.ts";
import { requestInputs } from "./keys.ts";
import type { PlanFacts } from "./tasks.ts";

/** The build's plan of a cell; refused options are thrown with their places in the matrix file. */
export async function planCell(
  cell: Cell,
  checkpoint: string,
  outputDir: string,
  context: StepContext,
): Promise<BuildPlan> {
  const options = { ...cell.build, checkpoint_dir: checkpoint, output_dir: outputDir, workers: 1, force: true };
  const plan = await planBuild(options, {
    version: context.version,
    origin: originOf(cell, "build"),
    given: key => cell.origins[`build.${key}`] !== undefined,
    builder: context.builderOf(cell),
    trtexecFlags: cell.trtexecFlags,
  });
  throwIfAny(plan.problems);
  return plan;
}

/** What later runs need to know of a plan to find everything that was made from it. */
export function factsOf(plan: BuildPlan): PlanFacts {
  return {
    fingerprint: plan.fingerprint,
    memory_peak: plan.memory.peak,
    warnings: plan.warnings,
    parts: plan.engines.map(({ name, graph, source, tables, request }) => ({
      name,
      onnx_sha256: graph.onnx_sha256,
      onnx_bytes: graph.onnx_bytes,
      nodes: graph.nodes,
      source: relative(plan.checkpoint_dir, source),
      ...(tables && { tables: tables.hashes.map(({ sha256 }) => sha256) }),
      weight_bytes: graph.weight_bytes,
      builder_bytes: plan.build_memory.builders.find(builder => builder.name === name)?.host ?? 0,
      request: request === null ? null : requestInputs(request),
    })),
  };
}

export function asJson(value: object): JsonObject {
  return JSON.parse(JSON.stringify(value)) as JsonObject;
}

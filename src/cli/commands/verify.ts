import { throwIfAny } from "../../diagnostics/index.ts";
import { verifyOptions } from "../../options/tables/verify.ts";
import { Assistant } from "../../runtime/assistant.ts";
import { readReference } from "../../runtime/reference.ts";
import { firstDifference, type StageResult, verify as verifyStages } from "../../runtime/verify.ts";
import { defineCommand } from "../command.ts";
import { formatTable } from "../ui.ts";

export const verify = defineCommand({
  name: "verify",
  options: verifyOptions,
  async run({ options, ui, signal }) {
    const reference = await readReference(options.reference);
    const ort = { threads: options.threads };
    const assistant = await Assistant.open(options.engine_dir, ort);
    try {
      const results = await verifyStages({ assistant, reference, tolerance: options.tolerance, ort, signal });
      ui.result(stageTable(results), { stages: results });
      const problem = firstDifference(results, reference);
      throwIfAny(problem === undefined ? [] : [problem]);
    } finally {
      await assistant.close();
    }
  },
});

function stageTable(results: readonly StageResult[]): string {
  const rows = results.map(({ stage, state, difference, limit, note }) => [
    stage,
    state,
    difference?.worst.toExponential(2),
    limit?.toExponential(2),
    difference?.cosine.toFixed(7),
    note,
  ]);
  return formatTable(["stage", "", "worst", "allowed", "cosine", ""], rows);
}

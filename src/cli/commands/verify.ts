import { fail, throwIfAny } from "../../diagnostics/index.ts";
import { verifyOptions } from "../../options/tables/verify.ts";
import { Assistant } from "../../runtime/assistant.ts";
import { firstRankDifference, verifyRanks } from "../../runtime/ranks/verify.ts";
import { readReference } from "../../runtime/reference.ts";
import { openRunnable } from "../../runtime/runnable.ts";
import { firstDifference, type StageResult, verify as verifyStages } from "../../runtime/verify.ts";
import { type CommandContext, defineCommand } from "../command.ts";
import { formatTable } from "../ui.ts";

type Context = CommandContext<typeof verifyOptions>;

export const verify = defineCommand({
  name: "verify",
  options: verifyOptions,
  run: context => (context.options.ranks ? compareRanks(context) : compareReference(context)),
});

async function compareReference({ options, ui, signal }: Context): Promise<void> {
  const file = options.reference ?? missing("reference", "what to compare with is not guessed", "FILE, or --ranks");
  const reference = await readReference(file);
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
}

async function compareRanks({ options, ui, signal }: Context): Promise<void> {
  const { engine_dir, unsharded, tolerance, steps, threads } = options;
  const dir = unsharded ?? missing("unsharded", "ranks are compared with the same model in one piece", "DIR");
  const [ranked, whole] = [await openRunnable(engine_dir), await openRunnable(dir)];
  const results = await verifyRanks({ ranked, whole, tolerance, steps, ort: { threads }, signal });
  // Of the steps only what they come to: --json has everything.
  const isShown = ({ stage, state }: StageResult): boolean =>
    state !== "equal" || !stage.startsWith("step") || stage.endsWith("logits");
  ui.result(stageTable(results.filter(isShown)), { stages: results });
  const problem = firstRankDifference(results, engine_dir);
  throwIfAny(problem === undefined ? [] : [problem]);
}

function missing(option: string, why: string, value: string): never {
  return fail({
    code: "CFG004",
    what: `--${option} is missing`,
    at: "command line",
    why,
    fix: `mmtrt verify --${option} ${value}`,
  });
}

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

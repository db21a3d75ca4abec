import { openCheckpoint } from "../../checkpoint/read.ts";
import { withDefaults } from "../../options/define.ts";
import { buildOptions } from "../../options/tables/build.ts";
import { type AccuracyCase, type AccuracyReport, checkAccuracy } from "../../runtime/accuracy.ts";
import { Assistant } from "../../runtime/assistant.ts";
import { GENERATE_DEFAULTS } from "../../runtime/generate/options.ts";
import { planBuild } from "../plan-build.ts";
import { runPlan } from "../run-plan.ts";

export interface AnswerOptions {
  readonly cases: readonly AccuracyCase[];
  /** Where the cases come from, for messages. */
  readonly at: string;
  readonly maxNewTokens: number;
  readonly batchSize: number;
  readonly threads: number;
  readonly version: string;
  readonly signal: AbortSignal;
  readonly onProgress?: (done: number) => void;
}

/** Builds the checkpoint for ONNX Runtime in `engineDir` and asks it every question. Errors: BLD…, RUN… */
export async function accuracyOf(
  checkpointDir: string,
  engineDir: string,
  options: AnswerOptions,
): Promise<AccuracyReport> {
  await buildHere(checkpointDir, engineDir, options);
  const assistant = await Assistant.open(engineDir, { threads: options.threads });
  const generate = { ...GENERATE_DEFAULTS, maxNewTokens: options.maxNewTokens };
  const ask = async (batch: readonly AccuracyCase[]): Promise<readonly string[]> => {
    const questions = await Promise.all(
      batch.map(({ question, images }) => assistant.question(question, images, "auto")),
    );
    assistant.forgetImages();
    const { answers } = await assistant.ask(questions, { generate, at: options.at, signal: options.signal });
    return answers.map(({ text }) => text ?? "");
  };
  try {
    return await checkAccuracy(options.cases, options.batchSize, ask, options.onProgress);
  } finally {
    await assistant.close();
  }
}

/** With room for the longest prompt that the model takes. */
async function buildHere(checkpoint_dir: string, output_dir: string, given: AnswerOptions): Promise<void> {
  const checkpoint = await openCheckpoint(checkpoint_dir);
  const { maxPositions } = checkpoint.spec.language;
  await checkpoint.close();
  const limits = { max_batch_size: given.batchSize, max_input_len: maxPositions, max_seq_len: maxPositions };
  const options = withDefaults(buildOptions, { checkpoint_dir, output_dir, ...limits });
  const origin = (key: string): string => `--${key} (of the accuracy check)`;
  const plan = await planBuild(options, { version: given.version, origin, given: () => false });
  for await (const _ of runPlan(plan, given.signal)) given.signal.throwIfAborted();
}

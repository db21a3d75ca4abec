import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { planBuild } from "../../build/plan-build.ts";
import { runPlan } from "../../build/run-plan.ts";
import { convert } from "../../checkpoint/convert.ts";
import { packageRoot } from "../../formats/package-root.ts";
import { withDefaults } from "../../options/define.ts";
import { buildOptions } from "../../options/tables/build.ts";
import { type DemoOptions, demoOptions } from "../../options/tables/demo.ts";
import type { Answers } from "../../runtime/answer.ts";
import { Assistant } from "../../runtime/assistant.ts";
import { GENERATE_DEFAULTS } from "../../runtime/generate/options.ts";
import { decodeImage } from "../../runtime/image/decode.ts";
import { type CommandContext, defineCommand } from "../command.ts";
import { resultData } from "../run/request.ts";
import { VERSION } from "../version.ts";

type DemoContext = CommandContext<typeof demoOptions>;

/** Longest answer of the model: four shapes described. */
const MAX_NEW_TOKENS = 40;
/** 81 visual features and the longest question, with room. */
const MAX_INPUT_LEN = 160;

/** The small trained LLaVA of the package, in Hugging Face's format. */
function modelDir(): string {
  return join(packageRoot(), "test", "fixtures", "models", "llava-shapes");
}

export const demo = defineCommand({
  name: "demo",
  options: demoOptions,
  async run(context) {
    const { options } = context;
    const dir = options.output_dir ?? (await mkdtemp(join(tmpdir(), "mmtrt-demo-")));
    try {
      await runDemo(dir, context);
    } finally {
      if (options.output_dir === undefined) await rm(dir, { recursive: true, force: true });
    }
  },
});

async function runDemo(dir: string, context: DemoContext): Promise<void> {
  const { options, ui, signal } = context;
  const model = modelDir();
  const image = options.image ?? join(model, "demo.png");
  const { width, height } = await decodeImage(image);
  const convertMs = await timed(() => convertModel(model, join(dir, "checkpoint"), context));
  ui.info(`convert   ${model} → checkpoint, ${convertMs.toFixed(0)} ms`);
  const buildMs = await timed(() => buildEngines(join(dir, "checkpoint"), join(dir, "engine"), context));
  ui.info(`build     checkpoint → engine, ${buildMs.toFixed(0)} ms`);
  const assistant = await Assistant.open(join(dir, "engine"), { threads: 0 });
  try {
    ui.info(`picture   ${basename(image)}, ${width} × ${height}`);
    ui.info(`question  ${questionOf(options)}`);
    const answers = await ask(assistant, image, questionOf(options), signal);
    ui.result(`answer    ${answers.answers[0]?.text}\ntiming    ${timingText(answers)}`, {
      image: { file: image, width, height },
      question: questionOf(options),
      ...resultData(answers),
      convert_ms: convertMs,
      build_ms: buildMs,
    });
  } finally {
    await assistant.close();
  }
}

function timingText({ timing }: Answers): string {
  const { promptTokens, newTokens, visualMs, prefillMs, decodeMs } = timing;
  const step = decodeMs.reduce((sum, ms) => sum + ms, 0) / Math.max(1, decodeMs.length);
  return `vision ${visualMs.toFixed(1)} ms, prefill of ${promptTokens} tokens ${prefillMs.toFixed(1)} ms, ${newTokens} tokens of ${step.toFixed(1)} ms`;
}

function questionOf({ input_text }: DemoOptions): string {
  return input_text ?? "Describe the image.";
}

async function convertModel(model: string, outputDir: string, { signal, origin }: DemoContext): Promise<void> {
  await convert({
    modelDir: model,
    metaDir: undefined,
    outputDir,
    dtype: "auto",
    parallel: { tpSize: 1, ppSize: 1, parallelEmbedding: false, embeddingShardingDim: 0, shareEmbedding: false },
    workers: 1,
    strict: true,
    hash: false,
    version: VERSION,
    origin,
    signal,
    onProgress: () => {},
  });
}

async function buildEngines(checkpoint: string, outputDir: string, { signal, origin }: DemoContext): Promise<void> {
  const limits = { max_batch_size: 1, max_input_len: MAX_INPUT_LEN, max_seq_len: MAX_INPUT_LEN + MAX_NEW_TOKENS };
  const given = { checkpoint_dir: checkpoint, output_dir: outputDir, ...limits };
  const options = withDefaults(buildOptions, given);
  const plan = await planBuild(options, { version: VERSION, origin, given: key => key in given });
  for await (const _ of runPlan(plan, signal));
}

async function ask(assistant: Assistant, image: string, question: string, signal: AbortSignal): Promise<Answers> {
  const { eosTokenIds: _, ...defaults } = GENERATE_DEFAULTS;
  const generate = { ...defaults, maxNewTokens: MAX_NEW_TOKENS };
  return assistant.ask([await assistant.question(question, [image], "auto")], { generate, at: "--input_text", signal });
}

async function timed(run: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await run();
  return performance.now() - start;
}

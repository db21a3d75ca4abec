import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import { readAccuracyFile } from "../src/runtime/accuracy.ts";
import { Assistant } from "../src/runtime/assistant.ts";
import { openMessage } from "../src/runtime/device/open-message.ts";
import { pixelTensor, requestMessage } from "../src/runtime/device/request-message.ts";
import { GENERATE_DEFAULTS } from "../src/runtime/generate/options.ts";
import type { GenerationRequest } from "../src/runtime/generation.ts";
import { pairTokens } from "../src/runtime/generation-config.ts";
import { openRunnable } from "../src/runtime/runnable.ts";
import { openSession } from "../src/runtime/session.ts";

/**
 * `npx tsx scripts/export-runner-check.ts --engine_dir DIR --questions FILE --output_dir DIR [--reference DIR] [--count 40]`: what
 * native-plugins/test/runner_check.py asks a runner on a machine without Node. Questions are of the form that `run --check_accuracy` takes;
 * the answers expected are those of the session in this process, of `--reference` where the CPU has no kernels for the engine's dtype.
 */
const { values } = parseArgs({
  options: {
    engine_dir: { type: "string" },
    reference: { type: "string" },
    questions: { type: "string" },
    output_dir: { type: "string" },
    count: { type: "string", default: "40" },
    max_new_tokens: { type: "string", default: "20" },
  },
});

function needed(name: "engine_dir" | "questions" | "output_dir"): string {
  const value = values[name];
  if (value === undefined) throw new Error(`--${name} is missing`);
  return resolve(value);
}

/** Files of an engine directory by their names within it, so that it can be copied anywhere. */
function relativeFiles(message: ReturnType<typeof openMessage>, dir: string): object {
  const ranks = message.ranks as readonly (readonly { readonly file: string }[])[];
  return { ...message, ranks: ranks.map(own => own.map(one => ({ ...one, file: relative(dir, one.file) }))) };
}

async function main(): Promise<void> {
  const [dir, output, questions] = [needed("engine_dir"), needed("output_dir"), needed("questions")];
  const engine = await openRunnable(dir, { bfloat16: true });
  const startToken = (await pairTokens(engine))?.start;
  const options = { device: "cpu", deviceIndex: 0, runtime: "onnxruntime", recordsSteps: false, threads: 0 } as const;
  const open = relativeFiles(openMessage(engine, options, startToken), dir);
  const session = await openSession(values.reference ?? dir, { threads: 0 });
  const asked: GenerationRequest[] = [];
  const assistant = await Assistant.over({
    ...session,
    generate(request: GenerationRequest) {
      asked.push(request);
      return session.generate(request);
    },
  });
  mkdirSync(output, { recursive: true });
  const cases = (await readAccuracyFile(questions)).slice(0, Number(values.count));
  const requests: object[] = [];
  for (const [i, one] of cases.entries()) {
    const question = await assistant.question(one.question, one.images, "auto");
    const generate = { ...GENERATE_DEFAULTS, maxNewTokens: Number(values.max_new_tokens) };
    const { answers } = await assistant.ask([question], { generate, at: questions });
    const request = asked.at(-1) as GenerationRequest;
    const [pixels] = pixelTensor(engine, request);
    const file = `pixels${i}.bin`;
    if (pixels !== undefined) writeFileSync(join(output, file), pixels.bytes);
    requests.push({
      header: { ...requestMessage(i + 1, request), watched: false },
      pixels: pixels && { file, shape: pixels.shape },
      expected: answers.map(({ tokenIds }) => tokenIds),
      right: answers[0]?.text?.trim() === one.expected.trim(),
    });
  }
  writeFileSync(join(output, "check.json"), JSON.stringify({ engine_dir: relative(output, dir), open, requests }));
  await assistant.close();
  process.stdout.write(`${requests.length} questions in ${join(output, "check.json")}, of ${dirname(questions)}\n`);
}

await main();

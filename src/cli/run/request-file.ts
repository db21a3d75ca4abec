import { throwIfAny } from "../../diagnostics/index.ts";
import type { RunOptions } from "../../options/tables/run.ts";
import type { Answers, Question } from "../../runtime/answer.ts";
import type { Assistant } from "../../runtime/assistant.ts";
import { type FileRequest, readRequestFile } from "../../runtime/request-file.ts";
import type { Ui } from "../ui.ts";
import { withTasks } from "./adapters.ts";
import { askOptions, batchesOf, longestContext, merged, type RunContext, resultData } from "./request.ts";
import { noteReuse, reuseData } from "./reuse.ts";
import { noteWindow } from "./window-note.ts";

/** Answers the requests of a file in order, each as soon as it is known. */
export async function runFile(assistant: Assistant, file: string, context: RunContext): Promise<void> {
  const { options, ui, signal, origin } = context;
  refuseOthers(options, origin);
  const requests = await readRequestFile(file);
  const { encoder_decoder: pair } = assistant.session.engine.manifest.model;
  const reads = pair?.has_text_encoder !== false;
  if (!reads) refusePrompts(requests, file);
  const asking = askOptions(context);
  const tasked = withLineTasks(requests, assistant, context);
  const parts: Answers[] = [];
  for (const batch of batchesOf(tasked, options.batch_size ?? 1)) {
    const questions = await Promise.all(
      batch.map(async ({ task, ...request }) => ({
        ...(await questionOf(assistant, request, reads, options)),
        ...(task !== undefined && { task }),
      })),
    );
    noteWindow(assistant, longestContext(assistant, questions, options.max_new_tokens), ui);
    assistant.forgetImages();
    const at = `${file}:${batch[0]?.line}`;
    const answers = await assistant.ask(questions, { ...asking, at, signal });
    parts.push(answers);
    showBatch(ui, batch, answers);
  }
  if (ui.json) ui.result("", { ...resultData(merged(parts)), ...reuseData(assistant.session) });
  noteReuse(assistant.session, ui);
}

/** Adapters of lines, not of batches: one for each line of the file, or one for all. */
function withLineTasks(
  requests: readonly FileRequest[],
  assistant: Assistant,
  context: RunContext,
): readonly (FileRequest & Pick<Question, "task">)[] {
  const empty = requests.map(() => ({ ids: [], pixels: [] }));
  return withTasks(empty, assistant, context).map(({ task }, i) => ({
    ...(requests[i] as FileRequest),
    ...(task !== undefined && { task }),
  }));
}

async function questionOf(
  assistant: Assistant,
  { prompt, images }: FileRequest,
  reads: boolean,
  { prompt_format }: RunOptions,
): Promise<Question> {
  if (typeof prompt === "string" && reads) return assistant.question(prompt, images, prompt_format);
  return { ids: typeof prompt === "string" ? [] : prompt, pixels: await assistant.images(images) };
}

/** Text: the answers behind the numbers of their lines. With --json an event each, with the times of its batch. */
function showBatch(ui: Ui, batch: readonly FileRequest[], all: Answers): void {
  const { outputs, timing } = resultData(all) as { readonly outputs: readonly object[]; readonly timing: object };
  const { promptTokens: prompt_tokens, reusedTokens: reused_tokens } = all.timing;
  for (const [i, { line }] of batch.entries()) {
    const answer = all.answers[i];
    if (ui.json) ui.event("answer", { line, ...outputs[i], batch: { prompt_tokens, reused_tokens, timing } });
    else ui.stream(`[${line}] ${answer?.text ?? answer?.tokenIds.join(" ")}\n`);
  }
}

function refuseOthers(options: RunOptions, origin: (key: string) => string): void {
  const prompts = ["input_text", "input_ids", "image", "pixel_values"] as const;
  const others = [
    ...prompts.filter(key => options[key] !== undefined).map(key => ({ key, why: OWN_PROMPTS })),
    ...(options.check_accuracy === undefined ? [] : [{ key: "check_accuracy", why: OWN_QUESTIONS }]),
    ...(options.run_profiling ? [{ key: "run_profiling", why: ONE_REQUEST }] : []),
  ];
  throwIfAny(
    others.map(({ key, why }) => ({
      code: "RUN016",
      what: `both --input_file and --${key} are given; expected one of them`,
      at: origin(key),
      why,
      fix: `leave out --input_file or --${key}`,
    })),
  );
}

const OWN_PROMPTS = "every line of the file has prompt and pictures of its own";
const OWN_QUESTIONS = "the file of check_accuracy has questions of its own, with the answers that count as right";
const ONE_REQUEST = "one request is timed again and again; --json tells the times of every line";

/** A prompt that nobody reads would seem to be answered. */
function refusePrompts(requests: readonly FileRequest[], file: string): void {
  const asked = requests.filter(({ prompt }) => prompt.length > 0);
  throwIfAny(
    asked.map(({ line }) => ({
      code: "RUN022",
      what: `${file}:${line} has a prompt; the model takes pictures alone`,
      at: `${file}:${line}`,
      why: "its decoder starts with one fixed token and attends to the picture; nothing reads a prompt",
      fix: "leave out input_text and input_ids",
    })),
  );
}

import { throwIfAny } from "../../diagnostics/index.ts";
import {
  type AccuracyCase,
  type AccuracyReport,
  belowThreshold,
  checkAccuracy,
  readAccuracyFile,
} from "../../runtime/accuracy.ts";
import type { Assistant } from "../../runtime/assistant.ts";
import { withTasks } from "./adapters.ts";
import { askOptions, type RunContext } from "./request.ts";
import { noteReuse, reuseData } from "./reuse.ts";

/** Wrong answers shown as text; --json has them all. */
const SHOWN = 20;

/** Asks every question of the file and compares the answers. */
export async function runAccuracy(assistant: Assistant, file: string, context: RunContext): Promise<void> {
  const { options, ui, signal, origin } = context;
  const cases = await readAccuracyFile(file);
  const generate = askOptions(context);
  const { encoder_decoder: pair } = assistant.session.engine.manifest.model;
  const reads = pair?.has_text_encoder !== false;
  refuseQuestions(cases, file, reads);
  const ask = async (batch: readonly AccuracyCase[]): Promise<readonly string[]> => {
    const questions = await Promise.all(
      batch.map(({ question, images }) =>
        reads
          ? assistant.question(question, images, options.prompt_format)
          : assistant.images(images).then(pixels => ({ ids: [], pixels })),
      ),
    );
    assistant.forgetImages();
    const { answers } = await assistant.ask(withTasks(questions, assistant, context), {
      ...generate,
      at: file,
      signal,
    });
    return answers.map(({ text }) => text ?? "");
  };
  const batchSize = options.batch_size ?? assistant.session.engine.llm.build_config.max_batch_size;
  const report = await checkAccuracy(cases, batchSize, ask, done =>
    ui.progress({ id: "accuracy", label: "check_accuracy", done, total: cases.length }),
  );
  ui.result(accuracyText(report), {
    ...report,
    wrong: report.wrong.map(entry => ({ ...entry })),
    ...reuseData(assistant.session),
  });
  noteReuse(assistant.session, ui);
  const problem = belowThreshold(report, options.accuracy_threshold, origin("accuracy_threshold"));
  throwIfAny(problem === undefined ? [] : [problem]);
}

/** A question that nobody reads would seem to be answered. */
function refuseQuestions(cases: readonly AccuracyCase[], file: string, reads: boolean): void {
  const asked = reads ? [] : cases.filter(({ question }) => question.trim() !== "");
  throwIfAny(
    asked.map(({ line }) => ({
      code: "RUN022",
      what: `${file}:${line} has a question; the model takes pictures alone`,
      at: `${file}:${line}`,
      why: "its decoder starts with one fixed token and attends to the picture; nothing reads a prompt",
      fix: "leave out question",
    })),
  );
}

function accuracyText({ total, correct, accuracy, wrong }: AccuracyReport): string {
  const shown = wrong
    .slice(0, SHOWN)
    .map(w => `line ${w.line}: ${w.question}\n  expected ${w.expected}\n  answered ${w.answer.trim()}`);
  const rest = wrong.length > SHOWN ? [`… and ${wrong.length - SHOWN} more wrong answers (--json lists all)`] : [];
  return [...shown, ...rest, `accuracy ${(accuracy * 100).toFixed(2)} % (${correct} of ${total})`].join("\n");
}

import { type Problem, throwIfAny } from "../../diagnostics/index.ts";
import type { QuantizeOptions } from "../../options/tables/quantize.ts";
import type { QuantizeReport } from "../../report/quantize.ts";

/** Formats that run the model over texts first, which takes minutes: only where they are named. */
export const NEEDS_CALIBRATION: ReadonlySet<string> = new Set(["int4_awq", "int8_sq"]);

/** What contradicts itself or is missing. Errors: CFG002, CFG004. */
export function checkRequest(options: QuantizeOptions, origin: (key: string) => string): void {
  const { model_dir, output_dir, checkpoint_dir, format, auto, max_loss, check_accuracy } = options;
  const searches = auto !== undefined || max_loss !== undefined;
  const problems: Problem[] = [];
  const refuse = (
    holds: boolean,
    code: "CFG002" | "CFG004",
    key: string,
    what: string,
    why: string,
    fix: string,
  ): void => {
    if (holds) problems.push({ code, what, at: origin(key), why, fix });
  };
  const compares = checkpoint_dir !== undefined;
  refuse(
    model_dir === undefined,
    "CFG004",
    "model_dir",
    "the float model is missing",
    "a checkpoint is compared with the weights that it was made of",
    "mmtrt quantize MODEL_DIR …",
  );
  refuse(
    !compares && output_dir === undefined,
    "CFG004",
    "output_dir",
    "neither output_dir nor checkpoint_dir is given",
    "a checkpoint is either made or there already",
    "--output_dir DIR --format int8, or --checkpoint_dir DIR",
  );
  refuse(
    compares && (output_dir !== undefined || format !== undefined || searches),
    "CFG002",
    "checkpoint_dir",
    "checkpoint_dir is given with options that make another checkpoint",
    "with checkpoint_dir nothing is converted",
    "leave out output_dir, format, auto and max_loss, or checkpoint_dir",
  );
  refuse(
    auto !== undefined && max_loss !== undefined,
    "CFG002",
    "auto",
    "auto and max_loss are both given",
    "each of them is the limit that a format is judged by",
    "leave out one of them",
  );
  refuse(
    searches && check_accuracy === undefined,
    "CFG004",
    "check_accuracy",
    "check_accuracy is missing",
    "formats are judged by their answers to its questions",
    "--check_accuracy questions.jsonl",
  );
  refuse(
    !compares && !searches && format?.length !== 1,
    "CFG004",
    "format",
    format === undefined ? "no format is given" : `${format.length} formats are given and nothing chooses between them`,
    "the checkpoint has one format",
    "--format int8, or --auto 0.99 --check_accuracy questions.jsonl",
  );
  throwIfAny(problems);
}

/** No format was accurate enough. */
export function failedSearch({ trials, least, float }: QuantizeReport, origin: (key: string) => string): Problem {
  const best = trials.reduce((most, { accuracy }) => Math.max(most, accuracy ?? 0), 0);
  return {
    code: "NUM003",
    what: `no format answers ${least?.toFixed(4)} of the questions; the best of ${trials.length} answers ${best.toFixed(4)}, the float model ${float?.accuracy.toFixed(4)}`,
    at: origin("auto"),
    why: "quantized weights differ from the float ones, and answers with them",
    fix: "ask for less, or name more formats (--format int4_awq int8_sq int8)",
  };
}

import { fail } from "../../diagnostics/index.ts";
import type { RunOptions, runOptions } from "../../options/tables/run.ts";
import type { Question } from "../../runtime/answer.ts";
import type { Assistant } from "../../runtime/assistant.ts";
import type { CommandContext } from "../command.ts";

type Asked = Pick<CommandContext<typeof runOptions>, "options" | "origin">;

/** A single question is asked of every adapter that is named. */
export function forEachTask(
  questions: readonly Question[],
  { lora_task_uids: uids = [] }: RunOptions,
): readonly Question[] {
  const [only, ...others] = questions;
  return only !== undefined && others.length === 0 && uids.length > 1 ? uids.map(() => only) : questions;
}

/** Each question with its adapter, as --lora_task_uids says. Errors: LRA011, LRA012. */
export function withTasks(
  questions: readonly Question[],
  { session }: Assistant,
  { options, origin }: Asked,
): readonly Question[] {
  const { lora_task_uids: uids } = options;
  if (uids === undefined) return questions;
  const at = origin("lora_task_uids");
  const names = session.adapters;
  if (names === undefined) {
    fail({
      code: "LRA012",
      what: "lora_task_uids is given, and the engine was built without adapters",
      at,
      why: "adapters are inputs of the graph, which are there when it was built with them",
      fix: "mmtrt build --lora_dir DIR, or --lora_plugin auto to give adapters at run time alone",
    });
  }
  const unknown = uids.filter(uid => uid >= names.length);
  if (unknown.length > 0) {
    const known = names.map((name, uid) => `${uid} (${name})`).join(", ");
    fail({
      code: "LRA011",
      what: `lora_task_uids has ${unknown.join(", ")}; ${names.length === 0 ? "no adapter is loaded" : `loaded are ${known}`}`,
      at,
      why: "a uid counts the adapters of --lora_dir, or those that were built in, from 0; −1 is none",
      fix: names.length === 0 ? "--lora_dir DIR" : `use −1 to ${names.length - 1}`,
    });
  }
  if (uids.length !== 1 && uids.length !== questions.length) {
    fail({
      code: "LRA011",
      what: `lora_task_uids has ${uids.length} numbers; the request has ${questions.length} item${questions.length === 1 ? "" : "s"}`,
      at,
      why: "each item of the batch has an adapter of its own, and which one is not guessed",
      fix: `give ${questions.length}, or one for all`,
    });
  }
  return questions.map((question, i) => ({ ...question, task: (uids.length === 1 ? uids[0] : uids[i]) as number }));
}

import { MmtrtError } from "../../diagnostics/index.ts";
import type { runOptions } from "../../options/tables/run.ts";
import type { Assistant } from "../../runtime/assistant.ts";
import type { CommandContext } from "../command.ts";
import { pictureFiles } from "./old-flags.ts";

type Asked = Pick<CommandContext<typeof runOptions>, "options" | "origin">;

/** VILA is trained with several pictures in a prompt, and its own runner puts all of them before the question. */
export function seesTogether(assistant: Assistant): boolean {
  return assistant.session.engine.manifest.model.model_type === "vila";
}

/**
 * Several pictures with one prompt mean one item each, or one prompt with all of them. Where the engine has no room for
 * what was taken, its RUN010 says which that was and how to write the other.
 */
export async function withPairing<T>(assistant: Assistant, asked: Asked, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    const at = error instanceof MmtrtError ? error.problems.findIndex(({ code }) => code === "RUN010") : -1;
    const hint = at < 0 ? undefined : await otherReading(assistant, asked);
    if (!(error instanceof MmtrtError) || hint === undefined) throw error;
    throw new MmtrtError(error.problems.map((one, i) => (i === at ? { ...one, fix: `${one.fix}; ${hint}` } : one)));
  }
}

async function otherReading(assistant: Assistant, { options, origin }: Asked): Promise<string | undefined> {
  const { files, together } = pictureFiles(options, origin);
  const { encoder_decoder: pair } = assistant.session.engine.manifest.model;
  if (files.length > 1 && pair?.has_text_encoder === false) return "--batch_size 1 reads the pages one after another";
  const [prompt, ...others] = options.input_text ?? [];
  if (files.length < 2 || prompt === undefined || others.length > 0) return undefined;
  const writer = await assistant.writer();
  if (writer.placeholders(prompt) > 0) return undefined;
  if (together || seesTogether(assistant)) {
    return `all ${files.length} pictures stand in the one prompt here: repeat --input_text for each to ask about them one by one`;
  }
  const each = `the prompt was asked of each of ${files.length} pictures: --batch_size 1 does so one after another`;
  if (writer.pictureText === undefined) return each;
  const words = `${writer.pictureText} `.repeat(files.length);
  return `${each}, --input_text "${words}…" puts all of them into one prompt`;
}

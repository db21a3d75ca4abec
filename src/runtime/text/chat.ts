import { existsSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { fail } from "../../diagnostics/index.ts";
import { isJsonObject, type JsonObject, readJsonObject } from "../../formats/json.ts";
import { bounded } from "./bounded.ts";
import type { TextTokenizer } from "./tokenizer.ts";

/** The largest published templates have about 20 kB. */
const MAX_TEMPLATE_BYTES = 1 << 20;

const MAX_PROMPT = 64 << 20;

export interface ChatTemplate {
  /** File it came from, for messages. */
  readonly file: string;
  readonly text: string;
}

type Content = string | readonly ({ readonly type: "image" } | { readonly type: "text"; readonly text: string })[];

/** One user turn; `content` is a list of parts for processors that know images, a string for plain tokenizers. */
export interface ChatMessage {
  readonly role: "user";
  readonly content: Content;
}

/** The model's chat template where Hugging Face looks for it, newest place first; undefined: it has none. */
export async function findChatTemplate(dir: string, tokenizer: TextTokenizer): Promise<ChatTemplate | undefined> {
  const plain = join(dir, "chat_template.jinja");
  if (existsSync(plain)) {
    const info = await stat(plain);
    if (!info.isFile()) unusable(plain, "it is not a regular file");
    if (info.size > MAX_TEMPLATE_BYTES) unusable(plain, `it is larger than ${MAX_TEMPLATE_BYTES} bytes`);
    return { file: plain, text: await readFile(plain, "utf8") };
  }
  for (const name of ["chat_template.json", "processor_config.json"]) {
    const file = join(dir, name);
    const json: JsonObject = existsSync(file) ? await readJsonObject(file) : {};
    if (typeof json.chat_template === "string") return { file, text: json.chat_template };
  }
  const text = templateOf(tokenizer.config.chat_template);
  return text === undefined ? undefined : { file: join(dir, "tokenizer_config.json"), text };
}

/** A string, or a list of named ones of which `default` is for plain chats. */
function templateOf(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return undefined;
  const named = value.find(entry => isJsonObject(entry) && entry.name === "default") as JsonObject | undefined;
  return typeof named?.template === "string" ? named.template : undefined;
}

/**
 * The prompt for one user turn, ready for the answer (`add_generation_prompt`).
 * @throws MmtrtError RUN007 when the template cannot be parsed or refuses the messages.
 */
export async function renderChat(
  template: ChatTemplate,
  messages: readonly ChatMessage[],
  tokenizer: TextTokenizer,
): Promise<string> {
  const { Template } = await import("@huggingface/jinja");
  try {
    const values = {
      messages,
      add_generation_prompt: true,
      bos_token: tokenizer.bosToken ?? "",
      eos_token: tokenizer.eosToken ?? "",
    };
    const prompt = bounded(template.text.length, () => new Template(template.text).render(values));
    return prompt.length <= MAX_PROMPT
      ? prompt
      : unusable(template.file, `it makes ${prompt.length} characters of one turn`);
  } catch (error) {
    return unusable(template.file, (error as Error).message);
  }
}

function unusable(file: string, reason: string): never {
  return fail({
    code: "RUN007",
    what: `the chat template in ${file} cannot be used: ${reason}`,
    at: file,
    why: "a chat model answers well only in the form it was trained with",
    fix: "--prompt_format raw, with the whole prompt in --input_text",
  });
}

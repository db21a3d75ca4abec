import { fail, MmtrtError } from "../../diagnostics/index.ts";
import type { Header } from "../../toolchain/runner/frames.ts";
import { problemsOf, type RunnerProcess } from "../../toolchain/runner/process.ts";
import type { Generated } from "../generate/options.ts";
import type { DeviceMemory, Generation, GenerationRequest } from "../generation.ts";

/** An item's tokens as they come, and whether its text was found complete on this side. */
interface Item {
  readonly tokens: number[];
  stopped: boolean;
}

/**
 * Follows a request that was sent: tells of tokens, ends items whose text is complete (the runner may be some tokens ahead,
 * which are left out), answers its questions, and takes the request back when it is aborted.
 */
export async function followRequest(
  runner: RunnerProcess,
  id: number,
  request: GenerationRequest,
): Promise<Generation> {
  const { hooks, prompts } = request;
  const items: Item[] = prompts.map(() => ({ tokens: [], stopped: false }));
  const cancel = (): void => void runner.send({ kind: "cancel", id });
  if (hooks.signal?.aborted) cancel();
  hooks.signal?.addEventListener("abort", cancel);
  try {
    for (;;) {
      const message = await runner.receive();
      if (message.id !== id) unexpected(message);
      if (message.kind === "tokens") await takeTokens(runner, id, request, items, message);
      else if (message.kind === "ask") await runner.send({ kind: "verdict", id, ends: verdict(request, message) });
      else if (message.kind === "problem") throw new MmtrtError(problemsOf(message));
      else if (message.kind === "cancelled") hooks.signal?.throwIfAborted();
      else if (message.kind === "result") {
        hooks.signal?.throwIfAborted();
        return resultOf(message, items);
      } else unexpected(message);
    }
  } finally {
    hooks.signal?.removeEventListener("abort", cancel);
  }
}

async function takeTokens(
  runner: RunnerProcess,
  id: number,
  { hooks, options }: GenerationRequest,
  items: readonly Item[],
  message: Header,
): Promise<void> {
  const [rows, tokens] = [wholeNumbers(message, message.items), wholeNumbers(message, message.tokens)];
  for (const [i, row] of rows.entries()) {
    const item = items[row];
    const token = tokens[i];
    if (item === undefined || token === undefined) return unexpected(message);
    if (item.stopped) continue;
    item.tokens.push(token);
    hooks.onToken?.({ item: row, token });
    if (options.eosTokenIds.includes(token) || hooks.endsAnswer?.(row, item.tokens) !== true) continue;
    item.stopped = true;
    await runner.send({ kind: "end", id, item: row });
  }
}

/** Whether each answer of a beam search is complete. */
function verdict({ hooks }: GenerationRequest, message: Header): readonly boolean[] {
  const { item, answers } = message;
  if (!Array.isArray(answers) || typeof item !== "number") return unexpected(message);
  return answers.map(tokens => hooks.endsAnswer?.(item, wholeNumbers(message, tokens)) === true);
}

function resultOf(message: Header, items: readonly Item[]): Generation {
  const outputs = Array.isArray(message.outputs) ? (message.outputs as readonly Record<string, unknown>[]) : [];
  if (outputs.length !== items.length) unexpected(message);
  const generated = outputs.map((output, i): Generated => {
    const item = items[i] as Item;
    if (item.stopped) return { tokenIds: item.tokens, finishReason: "stop" };
    const { score, finish_reason: reason } = output;
    return {
      tokenIds: wholeNumbers(message, output.token_ids),
      finishReason: reason === "stop" ? "stop" : "length",
      ...(typeof score === "number" && { score }),
    };
  });
  const { visual_ms: visualMs, prefill_ms: prefillMs, decode_ms: decodeMs, memory } = message;
  if (typeof visualMs !== "number" || typeof prefillMs !== "number" || !Array.isArray(decodeMs)) unexpected(message);
  return {
    generated,
    visualMs,
    prefillMs,
    decodeMs: decodeMs as readonly number[],
    reusedTokens: 0,
    memory: memory as DeviceMemory,
  };
}

function wholeNumbers(message: Header, value: unknown): readonly number[] {
  if (Array.isArray(value) && value.every(number => Number.isSafeInteger(number))) return value as readonly number[];
  return unexpected(message);
}

/** A message of another form, or out of place. */
export function unexpected(message: Header): never {
  return fail({
    code: "RUN050",
    what: `the runner sent a message ${JSON.stringify(message).slice(0, 200)} that was not expected`,
    at: "the runner's standard output",
    why: "mmtrt and its runner speak one version of their protocol",
    fix: "run `mmtrt plugins build` again with this version of mmtrt",
  });
}

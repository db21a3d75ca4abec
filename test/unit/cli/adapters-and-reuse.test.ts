import { describe, expect, it } from "vitest";
import { refusedBySystem } from "../../../src/cli/refused-by-system.ts";
import { forEachTask, withTasks } from "../../../src/cli/run/adapters.ts";
import { noteReuse, reuseBytesOf, reuseData } from "../../../src/cli/run/reuse.ts";
import type { Ui } from "../../../src/cli/ui.ts";
import { withDefaults } from "../../../src/options/define.ts";
import { type RunOptions, runOptions } from "../../../src/options/tables/run.ts";
import type { Assistant } from "../../../src/runtime/assistant.ts";
import type { AnswerSession } from "../../../src/runtime/generation.ts";

const options = (more: Partial<RunOptions>): RunOptions => withDefaults(runOptions, { engine_dir: "engine", ...more });
const origin = (key: string): string => `--${key}`;

/** A Ui that keeps what it is told. */
function listening(json = false): { readonly ui: Ui; readonly said: string[] } {
  const said: string[] = [];
  return { said, ui: { json, info: (message: string) => void said.push(message) } as unknown as Ui };
}

describe("adapters of a request", () => {
  const [one, two] = [
    { ids: [1], pixels: [] },
    { ids: [2], pixels: [] },
  ];
  const ask = (uids: readonly number[] | undefined, adapters: readonly string[] | undefined, questions = [one, two]) =>
    withTasks(questions, { session: { adapters } } as unknown as Assistant, {
      options: options(uids === undefined ? {} : { lora_task_uids: uids }),
      origin,
    });

  it("are asked one after the other when there is a single question", () => {
    expect(forEachTask([one], options({ lora_task_uids: [0, -1, 1] }))).toEqual([one, one, one]);
    expect(forEachTask([one], options({ lora_task_uids: [0] }))).toEqual([one]);
    expect(forEachTask([one, two], options({ lora_task_uids: [0, 1, -1] }))).toEqual([one, two]);
    expect(forEachTask([], options({}))).toEqual([]);
  });

  it("are one for all items or one for each", () => {
    expect(ask([1], ["a", "b"]).map(({ task }) => task)).toEqual([1, 1]);
    expect(ask([1, -1], ["a", "b"]).map(({ task }) => task)).toEqual([1, -1]);
    expect(ask(undefined, undefined)).toEqual([one, two]);
  });

  it("that are not there are refused with those that are", () => {
    expect(() => ask([0], undefined)).toThrow(/LRA012.*built without adapters/s);
    expect(() => ask([2, 0, 7], ["a", "b"])).toThrow(/LRA011.*has 2, 7; loaded are 0 \(a\), 1 \(b\).*use −1 to 1/s);
    expect(() => ask([0], [])).toThrow(/LRA011.*no adapter is loaded.*--lora_dir DIR/s);
    expect(() => ask([0, 0, 0], ["a"])).toThrow(/LRA011.*has 3 numbers; the request has 2 items/s);
    expect(() => ask([0, 0, 0], ["a"], [one])).toThrow(/LRA011.*has 3 numbers; the request has 1 item\b/s);
  });
});

describe("what a session knows from before", () => {
  const session = (reuse: object | undefined): AnswerSession => ({ reuse }) as unknown as AnswerSession;
  const REUSE = { promptTokens: 989, reusedTokens: 19, blocks: 3, capacity: 7, bytes: 2 ** 20, evicted: 0 };

  it("is kept in as many bytes as are asked for, and a size without the switch is noted", () => {
    const { ui, said } = listening();
    const asked = (more: Partial<RunOptions>) => ({ ui, options: options(more), given: (key: string) => key in more });
    expect(reuseBytesOf(asked({ enable_kv_cache_reuse: true, kv_cache_reuse_size: "2MiB" }))).toBe(2 ** 21);
    expect(reuseBytesOf(asked({}))).toBeUndefined();
    expect(said).toEqual([]);
    expect(reuseBytesOf(asked({ kv_cache_reuse_size: "2MiB" }))).toBeUndefined();
    expect(said).toEqual([expect.stringContaining("no effect without --enable_kv_cache_reuse")]);
  });

  it("is told as shares, of no prompt too, and once: in words or in the result", () => {
    expect(reuseData(session(undefined))).toEqual({});
    expect(reuseData(session(REUSE))).toMatchObject({ kv_cache_reuse: { hit_rate: 0.0192, reused_tokens: 19 } });
    const none = { ...REUSE, promptTokens: 0, reusedTokens: 0 };
    expect(reuseData(session(none))).toMatchObject({ kv_cache_reuse: { hit_rate: 0 } });
    const [text, json] = [listening(), listening(true)];
    for (const { ui } of [text, json])
      for (const reuse of [undefined, REUSE, { ...REUSE, evicted: 2 }]) noteReuse(session(reuse), ui);
    expect(text.said).toEqual([
      "kv cache reuse: 19 of 989 prompt tokens known from before (1.9 %); 3 of 7 blocks kept (1.00 MiB)",
      "kv cache reuse: 19 of 989 prompt tokens known from before (1.9 %); 3 of 7 blocks kept (1.00 MiB), 2 gave way",
    ]);
    expect(json.said).toEqual([]);
  });
});

describe("an error of the operating system", () => {
  const errno = (code: string, more: object): Error => Object.assign(new Error(`${code}: no`), { code, ...more });

  it("about a file is a problem with the file, or with the call where no file is known", () => {
    const full = errno("ENOSPC", { syscall: "write", path: "/a/rank0.safetensors" });
    expect(refusedBySystem(full)?.problems).toMatchObject([
      { code: "ENV025", at: "/a/rank0.safetensors", why: "the disk is full" },
    ]);
    expect(refusedBySystem(errno("EIO", { syscall: "read" }))?.problems).toMatchObject([{ at: "read" }]);
  });

  it("that is no fault of disks or limits is a bug, and so is any other", () => {
    expect(refusedBySystem(errno("EBADF", { syscall: "close" }))).toBeUndefined();
    expect(refusedBySystem(errno("ENOENT", { syscall: "spawn trtexec" }))).toBeUndefined();
    expect(refusedBySystem(errno("ENOSPC", {}))).toBeUndefined();
    expect(refusedBySystem(new TypeError("x is not a function"))).toBeUndefined();
    expect(refusedBySystem("ENOSPC")).toBeUndefined();
  });
});

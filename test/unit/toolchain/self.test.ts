import { describe, expect, it } from "vitest";
import { isTransient } from "../../../src/build/matrix/runner.ts";
import { MmtrtError } from "../../../src/diagnostics/index.ts";
import { runSelf } from "../../../src/toolchain/self.ts";

const never = new AbortController().signal;

/** A program of one line in place of mmtrt; its arguments follow. */
const run = (script: string, signal = never, onEvent?: (event: Readonly<Record<string, unknown>>) => void) =>
  runSelf({
    program: [process.execPath, "-e", script],
    argv: ["convert", "x"],
    env: { PATH: process.env.PATH, MMTRT_DTYPE: "float16", SECRET: "s" },
    signal,
    ...(onEvent && { onEvent }),
  });

const caught = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );

describe("one of mmtrt's own commands as a process", () => {
  it("gives its result and its events, and sees no option of the environment", async () => {
    const events: unknown[] = [];
    const script = `
      console.log(JSON.stringify({ event: "progress", done: 1 }));
      console.log("not an event");
      console.log(JSON.stringify({ event: "result", argv: process.argv.slice(1), dtype: process.env.MMTRT_DTYPE, secret: process.env.SECRET }));`;
    const result = await run(script, never, event => void events.push(event));
    expect(result).toEqual({ event: "result", argv: ["convert", "x", "--json"] });
    expect(events).toEqual([{ event: "progress", done: 1 }]);
  });

  it("throws the problems that it told, which no second try would change", async () => {
    const problem = { code: "CKP001", what: "gone", at: "a", why: "b", fix: "c" };
    const script = `console.log(JSON.stringify({ event: "error", ...${JSON.stringify(problem)} })); process.exitCode = 1;`;
    const error = await caught(run(script));
    expect(error).toBeInstanceOf(MmtrtError);
    expect((error as MmtrtError).problems).toEqual([problem]);
    expect(isTransient(error)).toBe(false);
  });

  it("calls an end without a word a failure that may pass", async () => {
    const killed = await caught(run("process.kill(process.pid, 'SIGKILL')"));
    expect(String(killed)).toMatch(/MTX008.*mmtrt convert was ended by SIGKILL/);
    expect(isTransient(killed)).toBe(true);
    const silent = await caught(run("console.error('out of luck'); process.exitCode = 9"));
    expect(String(silent)).toMatch(/MTX008.*ended with exit code 9 .*out of luck/);
  });

  it("throws a bug as a bug", async () => {
    const error = await caught(
      run("console.log(JSON.stringify({ event: 'bug', stack: 'at line 1' })); process.exitCode = 70"),
    );
    expect(error).not.toBeInstanceOf(MmtrtError);
    expect(String(error)).toContain("at line 1");
    expect(isTransient(error)).toBe(false);
  });

  it("is ended when it is not wanted any more", async () => {
    const stop = new AbortController();
    const script = "console.log(JSON.stringify({ event: 'progress' })); setInterval(() => undefined, 1000)";
    const error = await caught(run(script, stop.signal, () => stop.abort(new Error("enough"))));
    expect(String(error)).toContain("enough");
  });
});

describe("a failure that may pass", () => {
  it.each(["EAGAIN", "EMFILE", "ESTALE", "EIO"])("is one of the system's: %s, also inside a problem", code => {
    const cause = Object.assign(new Error(code), { code });
    expect(isTransient(cause)).toBe(true);
    const problem = { code: "CKP009" as const, what: "", at: "", why: "", fix: "" };
    expect(isTransient(new MmtrtError([problem], { cause }))).toBe(true);
    expect(isTransient(Object.assign(new Error(), { code: "ENOSPC" }))).toBe(false);
  });
});

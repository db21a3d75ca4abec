import { readdirSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { Rig } from "../support/rig.ts";

const rig = new Rig();
afterAll(() => rig.close());

/** Writes gigabytes: far more than a test waits for. */
const LONG = ["synth", "big", "--preset", "llama-1.1b", "--json"];

describe("a command that is stopped half way", () => {
  it.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("by %s cleans up and exits with %d", async (signal, code) => {
    const running = rig.start(LONG);
    await running.says('"event":"progress"');
    running.kill(signal);
    const end = await running.finished;
    expect([end.code, end.signal]).toEqual([code, null]);
    expect(end.stderr).toBe("");
    expect(end.stdout).toContain(`"signal":"${signal}"`);
    expect(end.stdout).not.toMatch(/"event":"(error|bug|result)"/);
    expect(readdirSync(rig.dir)).toEqual([]);
  });

  it("by its reader going away cleans up and says nothing", async () => {
    const running = rig.start(LONG);
    await running.says('"event":"progress"');
    running.closeStdout();
    const end = await running.finished;
    expect([end.code, end.stderr]).toEqual([141, ""]);
    expect(readdirSync(rig.dir)).toEqual([]);
  });
});

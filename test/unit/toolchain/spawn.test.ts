import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { quoteCommand } from "../../../src/toolchain/quote.ts";
import { allowedEnvironment, endProblem, runTool, type ToolRun } from "../../../src/toolchain/spawn.ts";
import { tempFolder } from "../../support/temp-folder.ts";

const env = { PATH: process.env.PATH };
const node = (code: string, more: Partial<ToolRun> = {}): ToolRun => ({
  argv: [process.execPath, "-e", code],
  env,
  ...more,
});
const temp = (): string => tempFolder("spawn");

describe("runTool", () => {
  it("hands over every line of both outputs, a last one without a line end too, and keeps them in the log", async () => {
    const logFile = join(temp(), "deep", "build.log");
    const lines: string[] = [];
    const end = await runTool(
      node("console.log('one\\r\\ntwo ü'); console.error('three'); process.stdout.write('four')", {
        logFile,
        onLine: (line, stream) => lines.push(`${stream}: ${line}`),
      }),
    );
    expect(end).toMatchObject({ why: "exit", code: 0, signal: undefined });
    expect(lines.filter(line => line.startsWith("stdout"))).toEqual(["stdout: one", "stdout: two ü", "stdout: four"]);
    expect(lines).toContain("stderr: three");
    expect(readFileSync(logFile, "utf8").trim().split("\n").sort()).toEqual(["four", "one", "three", "two ü"]);
  });

  it("reads characters whole that a pipe cut in two", async () => {
    const lines: string[] = [];
    const code =
      "const b = Buffer.from('ü\\n'); process.stdout.write(b.subarray(0, 1)); setTimeout(() => process.stdout.write(b.subarray(1)), 50)";
    await runTool(node(code, { onLine: line => lines.push(line) }));
    expect(lines).toEqual(["ü"]);
  });

  it("passes arguments as they are, without a shell", async () => {
    const lines: string[] = [];
    await runTool({
      argv: [process.execPath, "-e", "console.log(JSON.stringify(process.argv.slice(1)))", "a b", "$HOME", "`id`", "*"],
      env,
      onLine: line => lines.push(line),
    });
    expect(JSON.parse(lines[0] ?? "")).toEqual(["a b", "$HOME", "`id`", "*"]);
  });

  it("reports exit codes and gives standard input", async () => {
    const end = await runTool(node("process.stdin.on('data', d => process.exit(Number(d)))", { input: "19" }));
    expect(end).toMatchObject({ why: "exit", code: 19 });
  });

  it("says which program cannot be started", async () => {
    await expect(runTool({ argv: ["/nowhere/trtexec"], env })).rejects.toThrow(/ENV024.*\/nowhere\/trtexec.*ENOENT/);
  });

  it("stops at the time limit", async () => {
    const end = await runTool(node("setInterval(() => {}, 1000)", { timeLimitSeconds: 0.3 }));
    expect(end).toMatchObject({ why: "time_limit", signal: "SIGTERM" });
  });

  it("stops on abort, by force when asking does not help, and at once when aborted before", async () => {
    const controller = new AbortController();
    const stubborn = node("process.on('SIGTERM', () => {}); console.log('up'); setInterval(() => {}, 1000)", {
      signal: controller.signal,
      graceMs: 200,
      onLine: () => controller.abort(),
    });
    expect(await runTool(stubborn)).toMatchObject({ why: "cancelled", signal: "SIGKILL" });
    expect(await runTool(node("setInterval(() => {}, 1000)", { signal: controller.signal }))).toMatchObject({
      why: "cancelled",
    });
  });

  it("tells a crash from an exit", async () => {
    const end = await runTool(node("process.kill(process.pid, 'SIGSEGV')"));
    expect(end).toMatchObject({ why: "signal", signal: "SIGSEGV" });
    expect(endProblem(end, ["trtexec"], undefined)).toMatchObject({ code: "TRT011" });
  });

  it("keeps the tail of an endless talker, in bounded memory", async () => {
    const end = await runTool(node("for (let i = 0; i < 98989; i++) console.log('line ' + i)"));
    expect(end.tail).toHaveLength(200);
    expect(end.tail.at(-1)).toBe("line 98988");
  });
});

describe("the tool's environment", () => {
  it("holds what finds libraries and GPUs, and no secret", () => {
    const given = {
      PATH: "/bin",
      LD_LIBRARY_PATH: "/l",
      CUDA_VISIBLE_DEVICES: "0",
      HF_TOKEN: "x",
      AWS_SECRET: "y",
      EMPTY: undefined,
    };
    expect(allowedEnvironment(given)).toEqual({ PATH: "/bin", LD_LIBRARY_PATH: "/l", CUDA_VISIBLE_DEVICES: "0" });
  });
});

describe("the problem of an ended tool", () => {
  const end = {
    why: "exit",
    code: 1,
    signal: undefined,
    seconds: 1.23,
    tail: ["first", "Segfault imminent", ""],
  } as const;

  it("has the command to paste and the log to read", () => {
    expect(endProblem(end, ["/opt/my tools/trtexec", "--onnx=it's.onnx"], "build.log")).toMatchObject({
      code: "TRT007",
      what: "the builder ended with exit code 1: Segfault imminent",
      at: "'/opt/my tools/trtexec' '--onnx=it'\\''s.onnx'",
      fix: "read build.log, or run the command by hand",
    });
  });

  it("takes SIGKILL for a machine out of memory", () => {
    const problem = endProblem({ ...end, why: "signal", signal: "SIGKILL", code: undefined }, ["trtexec"], undefined);
    expect(problem.why).toContain("out of memory");
  });

  it("names cancel and time limit", () => {
    expect(endProblem({ ...end, why: "cancelled" }, ["x"], undefined).code).toBe("TRT008");
    expect(endProblem({ ...end, why: "time_limit" }, ["x"], undefined).code).toBe("TRT009");
  });

  it("quotes only what a shell would take apart", () => {
    expect(quoteCommand(["trtexec", "--minShapes=a:1x3,b:2", "x y", ""])).toBe(
      "trtexec --minShapes=a:1x3,b:2 'x y' ''",
    );
  });
});

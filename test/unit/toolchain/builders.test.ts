import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { MmtrtError } from "../../../src/diagnostics/index.ts";
import { buildEngine, chooseBuilder, planEngineCommand } from "../../../src/toolchain/tensorrt/builders.ts";
import type { EngineEvent, EngineRequest } from "../../../src/toolchain/tensorrt/request.ts";
import { fakePlan, StandIn, type StandInPlan } from "../../support/standin.ts";
import { SUCCESS_LOG } from "../../support/trtexec-log.ts";

const shapes = { x: { min: [1, 1, 19], opt: [2, 3, 19], max: [4, 5, 19] } };
const good: StandInPlan = { lines: SUCCESS_LOG.slice(1, -1), engine: fakePlan("ftrt", [10, 16, 0, 72]) };
const request = (standin: StandIn, more: Partial<EngineRequest> = {}): EngineRequest => ({
  backend: "tensorrt",
  builder: "trtexec",
  onnx: "m.onnx",
  engine: standin.engine,
  profiles: [{ name: "context", shapes }],
  ...more,
});

async function problemsOf(work: Promise<unknown>): Promise<MmtrtError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(MmtrtError);
  return error as MmtrtError;
}

/** What is left where the engine goes. */
function left(standin: StandIn): readonly string[] {
  return existsSync(dirname(standin.engine)) ? readdirSync(dirname(standin.engine)) : [];
}

/** A process that ended and waits to be reaped is not alive. */
function alive(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

describe("buildEngine with trtexec", () => {
  it("runs exactly the planned command, gives the engine its name, and reports what the tool said", async () => {
    const standin = new StandIn(good);
    const events: EngineEvent[] = [];
    const logFile = join(standin.dir, "logs", "build.log");
    const report = await buildEngine(request(standin), {
      env: standin.env,
      logFile,
      onEvent: event => events.push(event),
    });
    const planned = planEngineCommand(request(standin), {
      builder: "trtexec",
      file: join(standin.dir, "bin/trtexec"),
      version: undefined,
    });
    expect(report.argv).toEqual(planned.argv);
    expect(standin.runs().map(run => run.argv)).toEqual([planned.argv.slice(1)]);
    expect(left(standin)).toEqual(["model.engine"]);
    expect(report).toMatchObject({
      file: standin.engine,
      bytes: 989,
      builder: "trtexec",
      version: "10.16.0.72",
      profiles: [{ name: "context", shapes }, { name: "1" }],
      memoryBytes: { weights: 576, activation: 8193536 },
    });
    expect(events[0]).toMatchObject({ event: "start", builder: "trtexec", version: "10.16.0" });
    expect(events.filter(e => e.event === "progress").at(-1)).toMatchObject({ percent: 100 });
    expect(readFileSync(logFile, "utf8")).toContain("Engine built in 9.12 sec.");
  });

  it("hands the tool no variable it has no use for", async () => {
    const standin = new StandIn(good);
    await buildEngine(request(standin), { env: standin.env });
    const seen = standin.runs()[0]?.env ?? [];
    expect(seen).toContain("TENSORRT_ROOT");
    expect(seen).not.toContain("SECRET_TOKEN");
  });

  it("turns a failing log into its cause, with the log's line, and leaves no engine", async () => {
    const standin = new StandIn({
      lines: ["[E] Unknown option: --foo", "[E] Engine set up failed"],
      engine: fakePlan("ftrt", [10, 16, 0, 72]).subarray(0, 100),
      exit: 1,
    });
    const logFile = join(standin.dir, "build.log");
    const { problems } = await problemsOf(buildEngine(request(standin), { env: standin.env, logFile }));
    expect(problems).toMatchObject([{ code: "TRT261", at: `${logFile}:2`, what: "the tool does not know --foo" }]);
    expect(left(standin)).toEqual([]);
    expect(readFileSync(logFile, "utf8")).toContain("&&&& FAILED");
  });

  it("gives command and log where no message is known", async () => {
    const standin = new StandIn({ lines: ["[E] a message from the future"], exit: 3 });
    const { problems, exitCode } = await problemsOf(buildEngine(request(standin), { env: standin.env }));
    expect(problems).toMatchObject([{ code: "TRT007", what: expect.stringContaining("exit code 3") }]);
    expect(problems[0]?.at).toContain("--skipInference");
    expect(exitCode).toBe(1);
  });

  it.each([
    ["no file", undefined],
    ["an empty file", Buffer.alloc(0)],
    ["another kind of file", Buffer.from("version https://git-lfs.github.com/spec/v1 and more")],
    ["an engine of the other library", fakePlan("vtrt", [1, 7, 1, 116])],
  ])("does not believe a success that leaves %s", async (_, engine) => {
    const standin = new StandIn(engine === undefined ? {} : { engine });
    const { problems } = await problemsOf(buildEngine(request(standin), { env: standin.env }));
    expect(problems[0]?.code).toBe("TRT015");
    expect(left(standin)).toEqual([]);
  });

  it("removes an older engine first: after a failure nobody takes it for the new one", async () => {
    const standin = new StandIn({ lines: ["[E] Unknown option: --foo"], exit: 1 });
    mkdirSync(dirname(standin.engine));
    writeFileSync(standin.engine, "old");
    await problemsOf(buildEngine(request(standin), { env: standin.env }));
    expect(left(standin)).toEqual([]);
  });

  it("cancelled in the middle of writing leaves no half engine and no helper process, and keeps the log", async () => {
    const standin = new StandIn({
      engine: fakePlan("ftrt", [10, 16, 0, 72]).subarray(0, 19),
      hang: true,
      helper: true,
    });
    const pidFile = join(standin.dir, "helper.pid");
    const controller = new AbortController();
    const logFile = join(standin.dir, "build.log");
    const building = buildEngine(request(standin), {
      env: standin.env,
      signal: controller.signal,
      logFile,
      onEvent: event => {
        if (event.event === "log" && event.text === "waiting") controller.abort();
      },
    });
    const { problems } = await problemsOf(building);
    expect(problems).toMatchObject([{ code: "TRT008" }]);
    expect(left(standin)).toEqual([]);
    await expect.poll(() => alive(Number(readFileSync(pidFile, "utf8")))).toBe(false);
    expect(readFileSync(logFile, "utf8")).toContain("waiting");
  });

  it("stops at the time limit", async () => {
    const standin = new StandIn({ hang: true, engine: fakePlan("ftrt", [10, 16, 0, 72]) });
    const { problems } = await problemsOf(
      buildEngine(request(standin, { timeLimitSeconds: 0.5 }), { env: standin.env }),
    );
    expect(problems).toMatchObject([{ code: "TRT009" }]);
    expect(left(standin)).toEqual([]);
  });

  it("refuses profiles, flags and targets before anything runs, each problem of a stage at once", async () => {
    const standin = new StandIn(good);
    const inputs = [{ name: "y", dtype: "float16", dims: ["batch", "seq", 19] }];
    const unfit = await problemsOf(buildEngine(request(standin, { inputs }), { env: standin.env }));
    expect(unfit.problems.map(p => p.code)).toEqual(["TRT001", "TRT002"]);
    const odd = request(standin, {
      trtexecFlags: ["--best", "--noTf32"],
      computeCapabilities: [86],
      optimizationLevel: 9,
    });
    const refused = await problemsOf(buildEngine(odd, { env: standin.env }));
    expect(refused.problems.map(p => p.code)).toEqual(["TRT006", "TRT006", "TRT005", "TRT005"]);
    expect(() => standin.runs()).toThrow(/ENOENT/);
  });

  it("refuses flags that the version found does not have", async () => {
    const standin = new StandIn({ ...good, version: "101300" });
    const { problems } = await problemsOf(
      buildEngine(request(standin, { trtexecFlags: ["--decomposableAttentions=a"] }), { env: standin.env }),
    );
    expect(problems[0]).toMatchObject({ code: "TRT006", what: "trtexec 10.13.0 has no --decomposableAttentions" });
  });

  it("builds with tensorrt_rtx, its targets named and its limits known", async () => {
    const standin = new StandIn({ ...good, engine: fakePlan("vtrt", [1, 7, 1, 116]) });
    const events: EngineEvent[] = [];
    const rtx = request(standin, {
      backend: "tensorrt_rtx",
      builder: "auto",
      computeCapabilities: [86, 120],
      timingCache: "t",
    });
    const report = await buildEngine(rtx, { env: standin.env, onEvent: event => events.push(event) });
    expect(report).toMatchObject({ builder: "tensorrt_rtx", version: "1.7.1.116", sms: [86, 120] });
    expect(events).toContainEqual(
      expect.objectContaining({ event: "warning", problem: expect.objectContaining({ code: "TRT012" }) }),
    );
    const wrong = request(standin, {
      backend: "tensorrt_rtx",
      builder: "tensorrt_rtx",
      computeCapabilities: [90],
      versionCompatible: true,
    });
    expect((await problemsOf(buildEngine(wrong, { env: standin.env }))).problems).toMatchObject([
      { code: "TRT005", what: expect.stringContaining("SM 90") },
      { code: "TRT005", what: expect.stringContaining("version_compatible") },
    ]);
  });
});

describe("the choice of a builder", () => {
  const nothing = { PATH: "/nowhere" };

  it("ends with exit 3 and the three ways to get one where there is none", async () => {
    const standin = new StandIn(good, []);
    const error = await problemsOf(
      buildEngine(request(standin, { builder: "auto", backend: "tensorrt_rtx" }), { env: nothing }),
    );
    expect(error.exitCode).toBe(3);
    expect(error.problems).toHaveLength(1);
    const [problem] = error.problems;
    expect(problem?.code).toBe("ENV020");
    expect(problem?.what).toContain("tensorrt_rtx is not in PATH");
    for (const way of [
      "1. pip install tensorrt-rtx-cu13-libs",
      "2. pip install tensorrt ",
      "3. NVIDIA's SDK",
      "--backend onnxruntime",
    ]) {
      expect(problem?.fix).toContain(way);
    }
  });

  it("says what a named Python lacks", async () => {
    const standin = new StandIn(good, []);
    const { problems } = await problemsOf(
      chooseBuilder(request(standin, { builder: "python", python: "/nowhere/python" }), nothing),
    );
    expect(problems[0]?.what).toContain("/nowhere/python");
  });

  it("refuses a tool of the other library", async () => {
    const standin = new StandIn(good);
    const { problems } = await problemsOf(chooseBuilder(request(standin, { builder: "tensorrt_rtx" }), standin.env));
    expect(problems[0]).toMatchObject({ code: "TRT005", fix: "--builder trtexec, python or auto" });
  });

  it("prefers TENSORRT_ROOT to PATH", async () => {
    const standin = new StandIn(good);
    const other = new StandIn({ ...good, version: "110000" });
    const path = join(other.dir, "bin");
    expect(await chooseBuilder(request(standin, { builder: "auto" }), { ...standin.env, PATH: path })).toEqual({
      builder: "trtexec",
      file: join(standin.dir, "bin/trtexec"),
      version: "10.16.0",
    });
    expect(await chooseBuilder(request(standin), { ...other.env, PATH: path, TENSORRT_ROOT: "" })).toMatchObject({
      file: join(path, "trtexec"),
      version: "11.0.0",
    });
  });

  it("refuses trtexec's flags for the Python builder", async () => {
    const standin = new StandIn(good, []);
    const { problems } = await problemsOf(
      buildEngine(request(standin, { builder: "auto", trtexecFlags: ["--noTF32"] }), { env: nothing }),
    );
    expect(problems[0]).toMatchObject({ code: "ENV020", what: expect.not.stringContaining("python") });
  });

  it("is planned without looking at the machine", () => {
    const standin = new StandIn(good, []);
    expect(planEngineCommand(request(standin, { builder: "auto" })).argv[0]).toBe("trtexec");
    expect(planEngineCommand(request(standin, { builder: "auto", backend: "tensorrt_rtx" })).argv[0]).toBe(
      "tensorrt_rtx",
    );
    const { argv, input } = planEngineCommand(request(standin, { builder: "python", python: "py", workspaceMiB: 19 }));
    expect(argv.slice(0, 2)).toEqual(["py", "-B"]);
    expect(argv[2]).toMatch(/native-plugins\/driver\/build_engine\.py$/);
    expect(JSON.parse(input ?? "")).toEqual({
      onnx: "m.onnx",
      engine: standin.engine,
      profiles: [{ name: "context", shapes }],
      workspace_mib: 19,
    });
  });
});

import { chmodSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { toolProblems } from "../../../src/build/tensorrt.ts";
import { MmtrtError, type Problem } from "../../../src/diagnostics/index.ts";
import { withDefaults } from "../../../src/options/define.ts";
import { buildOptions } from "../../../src/options/tables/build.ts";
import { buildEngine } from "../../../src/toolchain/tensorrt/builders.ts";
import { DriverReader } from "../../../src/toolchain/tensorrt/driver.ts";
import { findPython, parseEvent } from "../../../src/toolchain/tensorrt/find.ts";
import type { EngineEvent, EngineRequest } from "../../../src/toolchain/tensorrt/request.ts";
import { tempFolder } from "../../support/temp-folder.ts";

const START =
  '{"event":"start","module":"tensorrt_rtx","version":"1.7.1.116","rtx":true,"sms":[86],"gpus":[],"python":"3.11.7"}';
const ENGINE =
  '{"event":"engine","file":"m.engine","bytes":19,"version":"1.7.1.116","io":{"from":"engine","tensors":[]},"profiles":[],"layers":{},"engine_layers":{},"sms":[86],"memory_bytes":{"weights":1,"activation":2},"peak_host_mib":null,"warnings":[]}';

/** A program in the place of Python: answers --version with `version`, a build with `lines` and an exit code. */
function standInPython(version: string, lines: readonly string[] = [], exit = 0): string {
  const dir = tempFolder("python");
  const quote = (line: string): string => `printf '%s\\n' '${line.replaceAll("'", "'\\''")}'`;
  const script = [
    "#!/bin/sh",
    'case "$*" in *--version*)',
    quote(version),
    "exit 0;; esac",
    ...lines.map(quote),
    `exit ${exit}`,
  ];
  const file = join(dir, "python");
  writeFileSync(file, `${script.join("\n")}\n`);
  chmodSync(file, 0o755);
  return file;
}

const request = (python: string): EngineRequest => ({
  backend: "tensorrt_rtx",
  builder: "python",
  python,
  onnx: "m.onnx",
  engine: join(tempFolder("driver"), "m.engine"),
  profiles: [],
});
const env = { PATH: "/bin:/usr/bin" };
const problemsOf = async (work: Promise<unknown>): Promise<readonly Problem[]> =>
  work.then(
    () => [],
    (error: unknown) => {
      expect(error).toBeInstanceOf(MmtrtError);
      return (error as MmtrtError).problems;
    },
  );

describe("trtexec's flags with a Python that is named", () => {
  it("are refused one by one, where the builder is left open and before engines are planned too", async () => {
    const trtexecFlags = ["--noTF32", "--avgTiming=4"];
    const wanted = { ...request(standInPython(START)), builder: "auto" as const, trtexecFlags };
    const refused = await problemsOf(buildEngine(wanted, { env }));
    expect(refused.map(({ code, at }) => `${code} ${at}`)).toEqual([
      "TRT006 -- --noTF32 (command line)",
      "TRT006 -- --avgTiming=4 (command line)",
    ]);
    const given = { checkpoint_dir: "c", output_dir: "o", backend: "tensorrt_rtx", builder: "python" } as const;
    expect(toolProblems(withDefaults(buildOptions, given), null, trtexecFlags)).toEqual(refused);
  });
});

describe("the driver's output", () => {
  it("becomes events, whatever the libraries print between them", async () => {
    const lines = [
      START,
      "Internal Error: something a library prints by itself",
      '{"event":"log","severity":"warning","text":"careful"}',
      '{"event":"progress","phase":"Parsing","parent":null,"step":1,"steps":19,"percent":0.1}',
      '{"event":"progress","phase":"Cloning","parent":"Building engine","step":0,"steps":7,"percent":3}',
      '{"event":"from the future"}',
      "{not json",
      ENGINE,
    ];
    const events: EngineEvent[] = [];
    const wanted = request(standInPython(START, lines));
    const report = await buildEngine(wanted, { env, onEvent: event => events.push(event) });
    expect(report).toMatchObject({ bytes: 19, builder: "python", io: { from: "engine" }, memoryBytes: { weights: 1 } });
    expect(report.peakHostMiB).toBeUndefined();
    expect(events.map(e => e.event)).toEqual(["start", "log", "log", "progress", "progress", "log"]);
    expect(events[4]).toMatchObject({ phase: "Cloning", parent: "Building engine", percent: 3 });
  });

  it("with problems ends in just those, if they are ours", async () => {
    const own = { code: "TRT001", what: "a", at: "b", why: "c", fix: "d" };
    const problems = [own, { ...own, code: "RUN001" }, { ...own, fix: 19 }, null, "x"];
    const error = JSON.stringify({ event: "error", stage: "check", problems, messages: [] });
    expect(await problemsOf(buildEngine(request(standInPython(START, [error], 1)), { env }))).toEqual([own]);
  });

  it("with TensorRT's messages ends in their cause, at the node the parser stopped at", async () => {
    const error = JSON.stringify({
      event: "error",
      stage: "parse",
      problems: [],
      messages: [{ severity: "error", text: "Unsupported ONNX data type: STRING (8)" }],
      parser: [{ code: "UNSUPPORTED_NODE", node: "layers.0/x", op: "StringNormalizer" }],
    });
    expect(await problemsOf(buildEngine(request(standInPython(START, [error], 1)), { env }))).toMatchObject([
      { code: "TRT139", at: "m.onnx: node layers.0/x (StringNormalizer)" },
    ]);
  });

  it("that stops without a word is not taken for success, with exit code 0 neither", async () => {
    for (const exit of [0, 1, 139]) {
      const problems = await problemsOf(
        buildEngine(request(standInPython(START, [START, "last words"], exit)), { env }),
      );
      expect(problems).toMatchObject([{ code: "TRT007", what: expect.stringContaining("last words") }]);
    }
  });

  it("is read without trust in its shape", () => {
    const reader = new DriverReader(() => undefined);
    for (const line of ['{"event":"warning"}', '{"event":"error","messages":[{}]}', '{"event":1}', "{}", "{", ""]) {
      reader.read(line, "stdout");
    }
    const end = { why: "exit", code: 1, signal: undefined, seconds: 1, tail: [] } as const;
    expect(reader.problems(request("python"), end, ["python"], undefined)).toMatchObject([{ code: "TRT007" }]);
    expect(parseEvent('["event"]')).toBeUndefined();
  });
});

describe("the search for a Python with bindings", () => {
  it("asks VIRTUAL_ENV's before PATH's, and tells why each that was asked would not do", async () => {
    const lacking = JSON.stringify({ event: "error", stage: "bindings", problems: [{ what: "no TensorRT bindings" }] });
    const [first, second] = [standInPython(lacking), standInPython(START)];
    const bin = tempFolder("path");
    writeFileSync(join(bin, "python3"), `#!/bin/sh\nexec ${first} "$@"\n`);
    writeFileSync(join(bin, "python"), `#!/bin/sh\nexec ${second} "$@"\n`);
    for (const name of readdirSync(bin)) chmodSync(join(bin, name), 0o755);
    const search = await findPython("tensorrt_rtx", { env: { PATH: bin } });
    expect(search.found).toMatchObject([{ file: join(bin, "python"), version: "1.7.1.116" }]);
    expect(search.tried).toEqual([`${join(bin, "python3")}: no TensorRT bindings`]);
  });

  it("reports an interpreter that prints nonsense or cannot start", async () => {
    const nonsense = await findPython("auto", { env, python: standInPython("Python 2.7") });
    expect(nonsense).toMatchObject({ found: [], tried: [expect.stringContaining("Python 2.7")] });
    const absent = await findPython("auto", { env, python: "/nowhere/python" });
    expect(absent.tried[0]).toContain("ENOENT");
    expect((await findPython("auto", { env: { PATH: "/nowhere" } })).tried[0]).toContain("python3 is not in");
  });
});

import { afterAll, describe, expect, it } from "vitest";
import { CODES } from "../../src/diagnostics/index.ts";
import { Rig } from "../support/rig.ts";

const rig = new Rig();
afterAll(() => rig.close());

describe("mmtrt", () => {
  it("--help lists the commands and exits 0", async () => {
    const { code, stdout, stderr } = await rig.run(["--help"]);
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(/^mmtrt \d+\.\d+\.\d+: .*\n\nusage: mmtrt COMMAND \[options\]\n/);
    expect(stdout).toMatch(/^ {2}explain {2,}Explain an error code, or/m);
    expect((await rig.run(["-h"])).stdout).toBe(stdout);
    expect((await rig.run(["help"])).stdout).toBe(stdout);
  });

  it("alone shows the same help as an error of usage", async () => {
    const { code, stdout, stderr } = await rig.run([]);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toBe((await rig.run(["--help"])).stdout);
  });

  it("--version prints the version of package.json", async () => {
    const { default: manifest } = await import("../../package.json", { with: { type: "json" } });
    expect(await rig.run(["--version"])).toMatchObject({ code: 0, stdout: `${manifest.version}\n`, stderr: "" });
  });

  it("COMMAND --help is made from the option table, even beside wrong flags", async () => {
    const { code, stdout } = await rig.run(["explain", "--help"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^usage: mmtrt explain CODE\|LOG \[options\]\n/);
    expect(stdout).toMatch(/^ {2}CODE\|LOG, --what {2,}An error code [^[]*\[required,\s+MMTRT_WHAT\]$/m);
    expect(stdout).toMatch(/^ {2}-q, --quiet {2,}/m);
    expect((await rig.run(["explain", "--nonsense", "-h"])).stdout).toBe(stdout);
  });

  it("help COMMAND is the whole page: values, YAML keys, old spellings, flags without effect", async () => {
    const { code, stdout, stderr } = await rig.run(["help", "convert"]);
    expect([code, stderr]).toEqual([0, ""]);
    const heads = [...stdout.matchAll(/^[A-Z].*$/gm)].map(([line]) => line);
    expect(heads).toEqual([
      ...["NAME", "SYNOPSIS", "OPTIONS", "OLD FLAGS", "EXAMPLES", "FILES AND ENVIRONMENT", "EXIT STATUS"],
    ]);
    const about = (flag: string): string =>
      stdout.split(`\n    ${flag}`)[1]?.split("\n\n")[0]?.replace(/\s+/g, " ") ?? "";
    expect(about("--tp_size N")).toMatch(
      /Value: a whole number from 1 to 1024\. Default: 1\. YAML: convert\.tp_size\. Environment: MMTRT_TP_SIZE\. Old: --inference_tensor_para_size, --tensor_parallel_size\.$/,
    );
    expect(about("--dtype ")).toContain("Also: fp16, half, bf16, fp32, float.");
    expect(stdout).toContain("    --load_by_shard\n        No effect: weights are always streamed.\n");
    expect(Math.max(...stdout.split("\n").map(line => line.length))).toBeLessThanOrEqual(100);
    expect((await rig.run(["help", "convrt"])).stderr).toContain("did you mean mmtrt convert?");
  });

  it("names the nearest command", async () => {
    expect(await rig.run(["explian"])).toEqual({
      code: 2,
      signal: null,
      stdout: "",
      stderr:
        "error[CFG008]: unknown command explian\n  at   explian (command line)\n  why  mmtrt's first word says what to do\n  fix  did you mean mmtrt explain?\n",
    });
    expect((await rig.run(["--json", "explain"])).stdout).toContain('"what":"the command comes first, got --json"');
  });

  it("names the nearest flag and reports everything at once", async () => {
    const { code, stderr } = await rig.run(["explain", "--waht", "CFG001", "--color", "purple"]);
    expect(code).toBe(2);
    expect(stderr).toContain("error[CFG001]: unknown flag --waht");
    expect(stderr).toContain("fix  did you mean --what?");
    expect(stderr).toContain("color must be one of auto, always, never; got purple");
    expect(stderr).toContain("error[CFG004]: CODE|LOG is missing");
  });

  it("prints errors as NDJSON on stdout with --json, and nothing on stderr", async () => {
    const { code, stdout, stderr } = await rig.run(["explain", "--json", "--waht=x"]);
    expect([code, stderr]).toEqual([2, ""]);
    const events = stdout
      .trimEnd()
      .split("\n")
      .map(line => JSON.parse(line) as Record<string, string>);
    expect(events.map(e => [e.event, e.code])).toEqual([
      ["error", "CFG001"],
      ["error", "CFG004"],
    ]);
    expect(Object.keys(events[0] ?? {}).sort()).toEqual(["at", "code", "event", "fix", "what", "why"]);
  });

  it("points into the YAML file by line and column", async () => {
    rig.file("mmtrt.yaml", "explain:\n  # a comment\n  wha: CFG001\nbuild:\n  max_batch_size: none\n");
    const { code, stderr } = await rig.run(["explain", "--config", "mmtrt.yaml"]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/error\[CFG005\]: mmtrt explain has no option wha\n {2}at {3}mmtrt\.yaml:3:3\n/);
    expect(stderr).toMatch(/error\[CFG002\]: max_batch_size must be .*\n {2}at {3}mmtrt\.yaml:5:19\n/);
  });

  it("takes options from the environment and the file, and refuses an unknown variable", async () => {
    rig.file("ok.yaml", "explain:\n  what: CFG002\n");
    expect((await rig.run(["explain"], { env: { MMTRT_WHAT: "CFG001" } })).stdout).toContain(CODES.CFG001.title);
    expect((await rig.run(["explain"], { env: { MMTRT_CONFIG: "ok.yaml" } })).stdout).toContain(CODES.CFG002.title);
    const wrong = await rig.run(["explain", "CFG001"], { env: { MMTRT_WAHT: "x" } });
    expect([wrong.code, wrong.stdout]).toEqual([2, ""]);
    expect(wrong.stderr).toContain("did you mean MMTRT_WHAT?");
  });

  it("explains every code it can print", async () => {
    const { code, stdout } = await rig.run(["explain", "cfg001", "--json"]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual({ event: "result", code: "CFG001", ...CODES.CFG001 });
    const unknown = await rig.run(["explain", "CFG999"]);
    expect(unknown.code).toBe(2);
    expect(unknown.stderr).toMatch(/^error\[CFG012\]: CFG999 is neither an error code nor a file/);
  });

  it("explains what a log says, with the line it says it in", async () => {
    rig.file(
      "trtexec.log",
      "[I] fine\n[E] Error[3]: IExecutionContext::setInputShape: Error Code 3: API Usage Error (Parameter check failed, condition: satisfyProfile Runtime dimension does not satisfy any optimization profile.)\n",
    );
    const { code, stdout } = await rig.run(["explain", "trtexec.log"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^\[TRT101\]: an input was given a size outside every profile.*\n {2}at {3}trtexec\.log:2: \[E\] Error\[3\]/,
    );
    rig.file("fine.log", "all is well\n");
    expect(JSON.parse((await rig.run(["explain", "fine.log", "--json"])).stdout)).toEqual({
      event: "result",
      findings: [],
    });
  });

  it("ends quietly when its reader goes away", async () => {
    const running = rig.start(["explain", "CFG001"]);
    running.closeStdout();
    const { code, stderr } = await running.finished;
    expect([0, 141]).toContain(code);
    expect(stderr).toBe("");
  });
});

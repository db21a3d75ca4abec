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
    expect(stdout).toMatch(/^ {2}explain {2,}Explain an error code/m);
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
    expect(stdout).toMatch(/^usage: mmtrt explain CODE \[options\]\n/);
    expect(stdout).toMatch(/^ {2}CODE, --code {2,}An error code [^[]*\[required,\s+MMTRT_CODE\]$/m);
    expect(stdout).toMatch(/^ {2}-q, --quiet {2,}/m);
    expect((await rig.run(["explain", "--nonsense", "-h"])).stdout).toBe(stdout);
    expect((await rig.run(["help", "explain"])).stdout).toBe(stdout);
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
    const { code, stderr } = await rig.run(["explain", "--coed", "CFG001", "--color", "purple"]);
    expect(code).toBe(2);
    expect(stderr).toContain("error[CFG001]: unknown flag --coed");
    expect(stderr).toContain("fix  did you mean --code?");
    expect(stderr).toContain("color must be one of auto, always, never; got purple");
    expect(stderr).toContain("error[CFG004]: CODE is missing");
  });

  it("prints errors as NDJSON on stdout with --json, and nothing on stderr", async () => {
    const { code, stdout, stderr } = await rig.run(["explain", "--json", "--coed=x"]);
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
    rig.file("mmtrt.yaml", "explain:\n  # a comment\n  cod: CFG001\nbuild:\n  max_batch_size: none\n");
    const { code, stderr } = await rig.run(["explain", "--config", "mmtrt.yaml"]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/error\[CFG005\]: mmtrt explain has no option cod\n {2}at {3}mmtrt\.yaml:3:3\n/);
    expect(stderr).toMatch(/error\[CFG002\]: max_batch_size must be .*\n {2}at {3}mmtrt\.yaml:5:19\n/);
  });

  it("takes options from the environment and the file, and refuses an unknown variable", async () => {
    rig.file("ok.yaml", "explain:\n  code: CFG002\n");
    expect((await rig.run(["explain"], { env: { MMTRT_CODE: "CFG001" } })).stdout).toContain(CODES.CFG001.title);
    expect((await rig.run(["explain"], { env: { MMTRT_CONFIG: "ok.yaml" } })).stdout).toContain(CODES.CFG002.title);
    const wrong = await rig.run(["explain", "CFG001"], { env: { MMTRT_COED: "x" } });
    expect([wrong.code, wrong.stdout]).toEqual([2, ""]);
    expect(wrong.stderr).toContain("did you mean MMTRT_CODE?");
  });

  it("explains every code it can print", async () => {
    const { code, stdout } = await rig.run(["explain", "cfg001", "--json"]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual({ event: "result", code: "CFG001", ...CODES.CFG001 });
    expect((await rig.run(["explain", "CFG999"])).code).toBe(2);
  });

  it("ends quietly when its reader goes away", async () => {
    const running = rig.start(["explain", "CFG001"]);
    running.closeStdout();
    const { code, stderr } = await running.finished;
    expect([0, 141]).toContain(code);
    expect(stderr).toBe("");
  });
});

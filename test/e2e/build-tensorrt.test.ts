import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { isAlive } from "../support/processes.ts";
import { Rig } from "../support/rig.ts";
import { ROOT } from "../support/sources.ts";
import { fakePlan, StandIn, type StandInPlan } from "../support/standin.ts";
import { SUCCESS_LOG } from "../support/trtexec-log.ts";

const ENGINE = fakePlan("ftrt", [10, 16, 0, 72]);
const GOOD: StandInPlan = { lines: SUCCESS_LOG.filter(line => !/&&&&|Model input/.test(line)), engine: ENGINE };
const LIMITS = ["--max_batch_size", "4", "--max_input_len", "60", "--max_seq_len", "90"];

/** Without util-linux's setpriv an abandoned trtexec runs to its end, as documented. */
const NO_SETPRIV = !existsSync("/usr/bin/setpriv");

let rig: Rig;
let standin: StandIn;

beforeAll(async () => {
  rig = new Rig();
  const fixture = join(ROOT, "test/fixtures/parity/llava_mqa");
  const converted = await rig.run(["convert", fixture, "--output_dir", "checkpoint", "--dtype", "float16", "--quiet"]);
  expect(converted.code).toBe(0);
});
afterAll(() => rig.close());

let count = 0;
let dir = "";
beforeEach(() => {
  dir = `engines${++count}`;
});

const argvOf = (...flags: string[]): string[] => [
  ...["build", "--checkpoint_dir", "checkpoint", "--output_dir", dir, "--backend", "tensorrt"],
  ...LIMITS,
  ...flags,
];

/** Runs or starts mmtrt with the stand-in as the only builder there is. */
function environmentOf(plan: StandInPlan): { readonly env: Readonly<Record<string, string>> } {
  standin = new StandIn(plan);
  const { TENSORRT_ROOT = "", TRT_STANDIN = "" } = standin.env;
  return { env: { PATH: "/nowhere", TENSORRT_ROOT, TRT_STANDIN } };
}

const build = (plan: StandInPlan, ...flags: string[]): ReturnType<Rig["run"]> =>
  rig.run(argvOf(...flags), environmentOf(plan));

const lastEvent = (stdout: string) => JSON.parse(stdout.trim().split("\n").at(-1) ?? "");
const left = (): readonly string[] => readdirSync(rig.dir).filter(name => name.startsWith(`${dir}`));

/** past_key_0 … past_value_2 at one point of a profile: one key/value head of 8. */
function caches(batch: number, past: number): string {
  return [0, 1, 2]
    .flatMap(i => [`past_key_${i}`, `past_value_${i}`].map(name => `${name}:${batch}x1x${past}x8`))
    .join(",");
}

/** The decoder's dynamic inputs at one point of a profile, written out from the contract. */
function shapes(batch: number, seq: number, past: number, rows: number): string {
  const ids = `input_ids:${batch}x${seq},position_ids:${batch}x${seq},last_token_ids:${batch}`;
  const table = `prompt_embedding_table:${rows}x40,tasks:${batch}x1`;
  return `${ids},${table},attention_mask:${batch}x${past + seq},${caches(batch, past)}`;
}

describe("mmtrt build --backend tensorrt", () => {
  it("hands trtexec exactly these words for the decoder and the visual engine", async () => {
    const { code, stderr } = await build(GOOD, "--quiet");
    expect([code, stderr]).toEqual([0, ""]);
    const common = ["--stronglyTyped", "--skipInference"];
    const stage = join(rig.dir, `${dir}.partial`);
    expect(standin.runs().map(({ argv }) => argv)).toEqual([
      [
        `--onnx=${stage}/llm/rank0.onnx`,
        `--saveEngine=${stage}/llm/rank0.engine.partial`,
        ...common,
        "--profile=0",
        `--minShapes=${shapes(1, 1, 0, 1)}`,
        `--optShapes=${shapes(2, 30, 0, 50)}`,
        `--maxShapes=${shapes(4, 60, 0, 100)}`,
        "--profile=1",
        `--minShapes=${shapes(1, 1, 0, 1)}`,
        `--optShapes=${shapes(2, 1, 44, 50)}`,
        `--maxShapes=${shapes(4, 1, 89, 100)}`,
        "--dumpOptimizationProfile",
      ],
      [
        `--onnx=${stage}/visual/model.onnx`,
        `--saveEngine=${stage}/visual/model.engine.partial`,
        ...common,
        "--minShapes=input:1x3x30x30",
        "--optShapes=input:2x3x30x30",
        "--maxShapes=input:4x3x30x30",
        "--dumpOptimizationProfile",
      ],
    ]);
    expect(left()).toEqual([dir]);
    expect(readFileSync(join(rig.dir, dir, "llm/rank0.engine")).equals(ENGINE)).toBe(true);
    expect(readFileSync(join(rig.dir, dir, "logs/visual.log"), "utf8")).toContain("Engine built in 9.12 sec.");
    const manifest = JSON.parse(readFileSync(join(rig.dir, dir, "mmtrt.json"), "utf8"));
    expect(manifest.target).toEqual({ tensorrt: "10.16.0.72", sm: [], plugin_abi: null });
    expect(manifest.parts[0].built).toMatchObject({ bytes: 989, builder: "trtexec", memory_bytes: { weights: 576 } });
    expect(manifest.parts[0].built.io_from).toBe(null);
    const { stdout } = await rig.run(["inspect", dir]);
    expect(stdout).toMatch(/inputs and outputs +of the ONNX graph; the builder printed none/);
  });

  it("plans the words that it then runs, with the directory's final name", async () => {
    const flags = [
      "--builder_opt",
      "5",
      "--workspace",
      "512",
      "--timing_cache",
      "t.cache",
      "--refit",
      "--plugins",
      "p.so",
    ];
    const rest = ["--", "--noTF32", "--avgTiming=4"];
    const plan = lastEvent((await build(GOOD, ...flags, "--plan", "--json", ...rest)).stdout);
    const planned = plan.steps.filter((step: { kind: string }) => step.kind === "engine");
    expect((await build(GOOD, ...flags, "--quiet", ...rest)).code).toBe(0);
    const ran = standin
      .runs()
      .map(({ argv }) => argv.map(word => word.replace(`${dir}.partial`, dir).replace(rig.dir, "<dir>")));
    expect(planned.map(({ argv }: { argv: string[] }) => argv.slice(1))).toEqual(ran);
    expect(ran[1]?.slice(7)).toEqual([
      "--builderOptimizationLevel=5",
      "--memPoolSize=workspace:512M",
      "--timingCacheFile=<dir>/t.cache",
      "--refit",
      "--dynamicPlugins=<dir>/p.so",
      "--dumpOptimizationProfile",
      "--noTF32",
      "--avgTiming=4",
    ]);
  });

  it("writes graphs that the found release can parse, and says so", async () => {
    const { stdout } = await build({ ...GOOD, version: "101300" }, "--json");
    const opsets = async (): Promise<number> =>
      lastEvent((await rig.run(["inspect", `${dir}/llm/rank0.onnx`, "--json"])).stdout).opsets[0].version;
    expect(stdout).toContain("its parser needs attention, rotary positions and norms spelled out");
    expect(await opsets()).toBe(20);
    const refused = await build({ ...GOOD, version: "101400" }, "--kv_cache_type", "static", "--force");
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining("static with TensorRT 10.14.0")]);
  });

  it("turns a failing tool into the cause with its log's line; only logs are left", async () => {
    const failing = { lines: ["[E] Unknown option: --foo", "[E] Engine set up failed"], engine: ENGINE, exit: 1 };
    const { code, stderr } = await build(failing, "--quiet");
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^error\[TRT261\]: the tool does not know --foo\n {2}at {3}<dir>\/engines\d+\.logs\/llm\.rank0\.log:2\n/,
    );
    expect(left()).toEqual([`${dir}.logs`]);
    expect(readFileSync(join(rig.dir, `${dir}.logs`, "llm.rank0.log"), "utf8")).toContain("&&&& FAILED");
    expect((await build(GOOD, "--quiet")).code).toBe(0);
    expect(left()).toEqual([dir]);
  });

  it.each(["SIGINT", "SIGTERM"] as const)("leaves nothing after %s in the middle of both builds", async signal => {
    const hanging = { ...GOOD, engine: ENGINE.subarray(0, 19), hang: true };
    const gpus = ["--workers", "2"];
    const running = rig.start(argvOf("--json", ...gpus), environmentOf(hanging));
    await running.says(/"progress".*engine visual/);
    running.kill(signal);
    const { code } = await running.finished;
    expect(code).toBe(signal === "SIGINT" ? 130 : 143);
    expect(left()).toEqual([]);
  });

  it.skipIf(NO_SETPRIV)("ends the builder with itself by SIGKILL, and the next build is whole", async () => {
    const hanging = { ...GOOD, engine: ENGINE.subarray(0, 19), hang: true, ignoreTerm: true };
    const running = rig.start(argvOf("--json"), environmentOf(hanging));
    await running.says(/"progress".*engine llm/);
    running.kill("SIGKILL");
    expect((await running.finished).signal).toBe("SIGKILL");
    const [{ pid = 0 } = {}] = standin.runs();
    await vi.waitFor(() => expect(isAlive(pid)).toBe(false));
    expect([...left()].sort()).toEqual([`${dir}.logs`, `${dir}.partial`]);
    const again = await build(GOOD, "--quiet");
    expect([again.code, again.stderr]).toEqual([0, ""]);
    expect(left()).toEqual([dir]);
    expect(readFileSync(join(rig.dir, dir, "llm/rank0.engine")).equals(ENGINE)).toBe(true);
  });

  it("stops at the time limit and keeps the log", async () => {
    const { code, stderr } = await build({ ...GOOD, hang: true }, "--time_limit", "1", "--quiet");
    expect([code, stderr]).toEqual([1, expect.stringMatching(/^error\[TRT009\]/)]);
    expect(left()).toEqual([`${dir}.logs`]);
  });

  it("refuses what the tool would, before it runs, everything at once", async () => {
    const flags = ["--compute_capabilities", "8.6", "sm120", "--tensorrt_version", "9.3"];
    const { code, stderr } = await build(GOOD, ...flags, "--quiet", "--", "--fp16", "--noTf32");
    expect(code).toBe(1);
    expect([...stderr.matchAll(/error\[(\w+)\]: (.*)/g)].map(([, number, what]) => `${number} ${what}`)).toEqual([
      expect.stringMatching(/^BLD048 tensorrt_version 9\.3/),
      "TRT005 trtexec builds for the GPU of this machine only",
      "TRT006 --fp16 has no place in a strongly typed build",
      "TRT006 trtexec has no flag --noTf32",
    ]);
    expect(stderr).toContain("--compute_capabilities 86,120");
    expect(existsSync(join(standin.dir, "record.jsonl"))).toBe(false);
    expect(left()).toEqual([]);
  });

  it("has exit 3 and three ways on a machine without TensorRT, where a plan can still be made", async () => {
    const nothing = { env: { PATH: "/nowhere" } };
    const { code, stderr } = await rig.run(argvOf("--quiet"), nothing);
    expect(code).toBe(3);
    for (const way of ["error[ENV020]", "1. pip install tensorrt-rtx", "2. pip install tensorrt on", "3. NVIDIA's SDK"])
      expect(stderr).toContain(way);
    const plan = await rig.run(argvOf("--plan"), nothing);
    expect([plan.code, plan.stderr]).toEqual([0, ""]);
    expect(plan.stdout).toContain("graphs are planned for the newest");
    expect(plan.stdout).toMatch(/^ {2}trtexec --onnx=<dir>\/engines\d+\/llm\/rank0\.onnx /m);
    expect(left()).toEqual([]);
  });
});

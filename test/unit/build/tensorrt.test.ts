import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { engineProblems } from "../../../src/build/engine-check.ts";
import type { BuildEvent } from "../../../src/build/events.ts";
import type { EnginePlan } from "../../../src/build/plan.ts";
import { planBuild } from "../../../src/build/plan-build.ts";
import { runPlan } from "../../../src/build/run-plan.ts";
import { dialectFor, parserOf, smNumbers } from "../../../src/build/tensorrt.ts";
import { MmtrtError } from "../../../src/diagnostics/index.ts";
import { ATTENTION_ONLY, DECOMPOSED, MODERN, MODERN_STATIC_CACHE } from "../../../src/graph/dialect.ts";
import { withDefaults } from "../../../src/options/define.ts";
import { type BuildOptions, buildOptions } from "../../../src/options/tables/build.ts";
import type { EngineReport } from "../../../src/toolchain/tensorrt/request.ts";
import { convertFixture } from "../../support/checkpoints.ts";
import { fakePlan, StandIn, type StandInPlan } from "../../support/standin.ts";

const options = (given: Partial<BuildOptions> = {}): BuildOptions =>
  withDefaults(buildOptions, { checkpoint_dir: "c", output_dir: "o", backend: "tensorrt", ...given });

describe("compute capabilities", () => {
  it("are one number however they are written, each once", () => {
    expect(smNumbers([8.6, "sm86", 86, 120, 12, 7.5, "sm80", 12.1])).toEqual([75, 80, 86, 120, 121]);
    expect(smNumbers(undefined)).toEqual([]);
  });
});

describe("the spelling of a graph", () => {
  const spelled = (version: string | undefined, isStatic = false) =>
    dialectFor({ backend: "tensorrt", version }, isStatic);

  it.each([
    ["10.0", DECOMPOSED],
    ["10.13.3.9", DECOMPOSED],
    ["10.14", ATTENTION_ONLY],
    ["10.15.0", MODERN],
    ["11.1", MODERN],
    [undefined, MODERN],
  ])("follows TensorRT %s", (version, dialect) => {
    expect(spelled(version)).toBe(dialect);
  });

  it("has TensorScatter with a static cache", () => {
    expect(spelled("10.15", true)).toBe(MODERN_STATIC_CACHE);
    expect(dialectFor({ backend: "tensorrt_rtx", version: "1.7.1" }, true)).toBe(MODERN_STATIC_CACHE);
  });

  it("follows --tensorrt_version before the builder, whatever the backend", () => {
    const found = { builder: "trtexec", file: "trtexec", version: "11.0.0" } as const;
    expect(parserOf(options(), { found, gpus: null })).toEqual({ backend: "tensorrt", version: "11.0.0" });
    for (const backend of ["onnxruntime", "tensorrt", "tensorrt_rtx"] as const) {
      const parser = parserOf(options({ backend, tensorrt_version: "10.13" }), { found, gpus: null });
      expect(dialectFor(parser, false)).toBe(DECOMPOSED);
    }
  });
});

describe("a built engine", () => {
  const io = [
    { name: "x", kind: "input", dtype: "float16", shape: [-1, 19], dims: ["batch", 19] },
    { name: "y", kind: "output", dtype: "float32", shape: [-1, 3], dims: ["batch", 3] },
  ] as const;
  const range = { min: [1, 19], opt: [2, 19], max: [3, 19] };
  const profiles = [{ name: "context", sizes: {}, shapes: { x: range } }];
  const plan = { name: "llm/rank0", io, profiles } as unknown as EnginePlan;
  const report = (change: Partial<EngineReport>): EngineReport =>
    ({
      file: "m.engine",
      builder: "python",
      version: "1.7.1.116",
      io: { from: "engine", tensors: io },
      profiles,
      ...change,
    }) as unknown as EngineReport;
  const tensors = (x: object, y: object = {}) => ({
    io: {
      from: "engine" as const,
      tensors: [
        { ...io[0], ...x },
        { ...io[1], ...y },
      ],
    } as EngineReport["io"],
  });

  it("may be the planned one, may leave an output's size open, and may tell nothing", () => {
    expect(engineProblems(plan, report({}))).toEqual([]);
    expect(engineProblems(plan, report(tensors({}, { shape: [-1, -1] })))).toEqual([]);
    expect(engineProblems(plan, report({ io: undefined }))).toEqual([]);
  });

  it("may have a size fixed that every profile fixes, at that value", () => {
    const one = { name: "context", sizes: { batch: { min: 1, opt: 1, max: 1 } }, shapes: { x: range } };
    const more = { ...one, name: "generation", sizes: { batch: { min: 1, opt: 2, max: 3 } } };
    const problems = (batch: number, ...of: readonly object[]): number =>
      engineProblems(
        { ...plan, profiles: of } as unknown as EnginePlan,
        report({ ...tensors({ shape: [batch, 19] }, { shape: [batch, 3] }), profiles: of } as Partial<EngineReport>),
      ).length;
    expect([problems(1, one), problems(1, one, one), problems(2, one), problems(1, one, more)]).toEqual([0, 0, 2, 2]);
  });

  it.each([
    [
      "another dtype",
      tensors({ dtype: "float32" }),
      "x of llm/rank0 is an input float32 [-1, 19]; expected input float16",
    ],
    ["a fixed size where it should be open", tensors({ shape: [3, 19] }), "input float16 [3, 19]; expected"],
    ["an open size of an input that is fixed", tensors({ shape: [-1, -1] }), "input float16 [-1, -1]; expected"],
    ["another rank", tensors({}, { shape: [3] }), "y of llm/rank0 is an output float32 [3]"],
    ["another profile", { profiles: [{ name: "0", shapes: { x: { ...range, max: [4, 19] } } }] }, "1×19 … 2×19 … 4×19"],
    ["a profile too few", { profiles: [] }, "0 profiles; expected 1"],
  ])("is refused with %s", (_, change, says) => {
    expect(engineProblems(plan, report(change as Partial<EngineReport>))).toMatchObject([
      { code: "TRT018", what: expect.stringContaining(says) },
    ]);
  });

  it("is refused with an input renamed: one is missing, one is strange", () => {
    expect(engineProblems(plan, report(tensors({ name: "x2" }))).map(({ what }) => what)).toEqual([
      "llm/rank0 has no input x; expected input float16 [-1, 19]",
      "llm/rank0 has an input float16 [-1, 19] called x2, which the graph does not have",
    ]);
  });
});

describe("engines side by side", () => {
  let dir: string;
  let checkpoint: string;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "mmtrt-side-"));
    checkpoint = await convertFixture("llama_gqa", join(dir, "checkpoint"), { tpSize: 2 });
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));

  const engine = fakePlan("ftrt", [10, 16, 0, 72]);

  async function run(plan: StandInPlan, gpus: readonly number[] | null, more: object = {}) {
    const standin = new StandIn(plan);
    const found = { builder: "trtexec", file: join(standin.dir, "bin/trtexec"), version: "10.16.0" } as const;
    const given = { checkpoint_dir: checkpoint, output_dir: join(dir, "engines"), workers: 2, force: true, ...more };
    const made = await planBuild(options(given), {
      version: "0.0.0",
      origin: key => `--${key}`,
      given: key => key in given,
      builder: { found, gpus },
    });
    const events: BuildEvent[] = [];
    const error = await (async () => {
      for await (const event of runPlan(made, new AbortController().signal, standin.env)) events.push(event);
    })().catch((reason: unknown) => reason);
    return { standin, made, events, error };
  }

  it("start both before either is done, one GPU each", async () => {
    const { standin, events, error } = await run({ engine }, [90, 90]);
    expect(error).toBeUndefined();
    const steps = events.filter(event => event.event === "step" && event.id.startsWith("engine"));
    expect(steps.map(event => event.event === "step" && event.state)).toEqual(["start", "start", "done", "done"]);
    expect(standin.runs().every(({ env }) => env.includes("CUDA_VISIBLE_DEVICES"))).toBe(true);
    const built = events.at(-1);
    expect(built).toMatchObject({ event: "built", engines: [{ name: "llm/rank0" }, { name: "llm/rank1" }] });
  });

  it("are no more at once than there are GPUs to time kernels on", async () => {
    const { made, events } = await run({ engine }, [90]);
    expect(made.workers).toBe(1);
    expect(made.adjustments).toContainEqual(expect.objectContaining({ option: "workers", from: 2, to: 1 }));
    const states = events.flatMap(e => (e.event === "step" && e.id.startsWith("engine") ? [e.state] : []));
    expect(states).toEqual(["start", "done", "start", "done"]);
  });

  it("fail with their causes and without the cancellations that follow from them", async () => {
    const { error } = await run({ lines: ["[E] Unknown option: --foo"], engine, exit: 1 }, null);
    expect(error).toBeInstanceOf(MmtrtError);
    const codes = (error as MmtrtError).problems.map(problem => problem.code);
    expect(new Set(codes)).toEqual(new Set(["TRT261"]));
    expect(await readdir(dir)).toContain("engines.logs");
    expect((await readdir(dir)).filter(name => name.endsWith(".partial"))).toEqual([]);
  });
});

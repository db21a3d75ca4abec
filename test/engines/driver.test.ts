import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";
import { MmtrtError, type Problem } from "../../src/diagnostics/index.ts";
import { buildEngine, chooseBuilder } from "../../src/toolchain/tensorrt/builders.ts";
import { readPlanHeader } from "../../src/toolchain/tensorrt/plan-header.ts";
import type { EngineEvent, EngineReport, EngineRequest } from "../../src/toolchain/tensorrt/request.ts";
import { ROOT } from "../support/sources.ts";
import { tempFolder } from "../support/temp-folder.ts";
import { describeTensorRT } from "../support/tensorrt.ts";

const onnx = (name: string): string => join(ROOT, "test/fixtures/onnx", `${name}.onnx`);
const env = { PATH: "/nowhere" };
const same = (...sizes: number[]) => ({ min: sizes, opt: sizes, max: sizes });
const upTo = (opt: readonly number[], max: readonly number[]) => ({
  min: max.map((size, i) => (i === 0 ? 1 : size)),
  opt,
  max,
});

/** Context and generation of cache.onnx: past 0 with a prompt, then one token after another. */
function cacheProfiles(past: number, seq: number, mask = (p: number, s: number): number => p + s) {
  const of = (batch: number, p: number, s: number) => ({
    x: [batch, s, 19],
    past: [batch, p, 7],
    mask: [batch, mask(p, s), 1],
  });
  const profile = (name: string, [min, opt, max]: readonly [number, number, number][]) => {
    const ends = {
      min: of(...(min as [number, number, number])),
      opt: of(...(opt as [number, number, number])),
      max: of(...(max as [number, number, number])),
    };
    const range = (input: "x" | "past" | "mask") => ({
      min: ends.min[input],
      opt: ends.opt[input],
      max: ends.max[input],
    });
    return { name, shapes: { x: range("x"), past: range("past"), mask: range("mask") } };
  };
  return [
    profile("context", [
      [1, 0, 1],
      [2, 0, 3],
      [4, 0, seq],
    ]),
    profile("generation", [
      [1, 1, 1],
      [2, 3, 1],
      [4, past, 1],
    ]),
  ];
}

describeTensorRT("TensorRT-RTX on the CPU", python => {
  const request = (name: string, more: Partial<EngineRequest> = {}): EngineRequest => ({
    backend: "tensorrt_rtx",
    builder: "python",
    python,
    onnx: onnx(name),
    engine: join(tempFolder("engine"), "out", "m.engine"),
    profiles: [],
    ...more,
  });
  const left = ({ engine }: EngineRequest): readonly string[] =>
    existsSync(dirname(engine)) ? readdirSync(dirname(engine)) : [];
  const built = async (wanted: EngineRequest, onEvent?: (event: EngineEvent) => void): Promise<EngineReport> => {
    const report = await buildEngine(wanted, { env, ...(onEvent && { onEvent }) });
    expect(left(wanted)).toEqual(["m.engine"]);
    return report;
  };
  const refused = async (
    wanted: EngineRequest,
    signal?: AbortSignal,
    onEvent?: (event: EngineEvent) => void,
  ): Promise<readonly Problem[]> => {
    const error = await buildEngine(wanted, { env, ...(signal && { signal }), ...(onEvent && { onEvent }) }).catch(
      (e: unknown) => e,
    );
    expect(error).toBeInstanceOf(MmtrtError);
    expect(left(wanted)).toEqual([]);
    return (error as MmtrtError).problems;
  };

  it("builds one engine with two profiles, and the engine itself says so", async () => {
    const wanted = request("cache", { profiles: cacheProfiles(989, 19) });
    const events: EngineEvent[] = [];
    const logFile = join(dirname(dirname(wanted.engine)), "build.log");
    const report = await buildEngine(wanted, { env, logFile, onEvent: event => events.push(event) });
    expect(report.io).toEqual({
      from: "engine",
      tensors: [
        { name: "x", kind: "input", dtype: "float16", shape: [-1, -1, 19], location: "device" },
        { name: "past", kind: "input", dtype: "float16", shape: [-1, -1, 7], location: "device" },
        { name: "mask", kind: "input", dtype: "float16", shape: [-1, -1, 1], location: "device" },
        { name: "y", kind: "output", dtype: "float16", shape: [-1, -1, 7], location: "device" },
        { name: "present", kind: "output", dtype: "float16", shape: [-1, -1, 7], location: "device" },
      ],
    });
    expect(report.profiles).toEqual(wanted.profiles);
    expect(report.layers).toMatchObject({ MATRIX_MULTIPLY: 1, CONCATENATION: 1, ELEMENTWISE: 1 });
    expect(Object.values(report.engineLayers ?? {}).reduce((a, b) => a + b, 0)).toBeGreaterThan(0);
    expect(report.memoryBytes?.weights).toBeGreaterThanOrEqual(19 * 7 * 2);
    expect(await readPlanHeader(wanted.engine)).toEqual({
      library: "tensorrt_rtx",
      version: report.version,
      bytes: report.bytes,
    });
    expect(statSync(wanted.engine).size).toBe(report.bytes);
    const percents = events.flatMap(e => (e.event === "progress" ? [e.percent] : []));
    expect(percents).toEqual([...percents].sort((a, b) => a - b));
    expect(percents.at(-1)).toBe(100);
    expect(readFileSync(logFile, "utf8")).toContain("Total Weights Memory");
  });

  it("builds for the compute capabilities named, and no others", async () => {
    const report = await built(request("cache", { profiles: cacheProfiles(19, 7), computeCapabilities: [86, 120] }));
    expect(report.sms).toEqual([86, 120]);
  });

  it("takes a graph without dynamic sizes, and needs no profile for it", async () => {
    const report = await built(request("fixed", { profilingVerbosity: "none" }));
    expect(report.io?.from).toBe("engine_log");
    expect(report.io?.tensors.map(t => t.shape)).toEqual([
      [3, 19],
      [3, 19],
    ]);
  });

  it("reads weights from another file at an odd offset", async () => {
    const report = await built(
      request("external", { profiles: [{ name: "p", shapes: { x: upTo([3, 19], [989, 19]) } }] }),
    );
    expect(report.memoryBytes?.weights).toBeGreaterThanOrEqual(266);
  });

  it("updates a static cache in place, with two profiles", async () => {
    const profile = (name: string, seq: number) => {
      const of = (batch: number, s: number) => ({
        q: [batch, 4, s, 40],
        k: [batch, 4, s, 40],
        v: [batch, 4, s, 40],
        cache_key_0: [batch, 4, 128, 40],
        cache_value_0: [batch, 4, 128, 40],
        at: [batch],
        mask: [batch, 1, s, 128],
      });
      const [min, opt, max] = [of(1, 1), of(2, Math.min(seq, 19)), of(4, seq)];
      const shapes = Object.fromEntries(
        (Object.keys(min) as (keyof typeof min)[]).map(n => [n, { min: min[n], opt: opt[n], max: max[n] }]),
      );
      return { name, shapes };
    };
    const report = await built(
      request("static_cache", { profiles: [profile("context", 128), profile("generation", 1)] }),
    );
    expect(report.layers).toMatchObject({ KV_CACHE_UPDATE: 2 });
    expect(report.io?.tensors.filter(t => t.kind === "output").map(t => t.name)).toEqual([
      "y",
      "cache_key_0_out",
      "cache_value_0_out",
    ]);
    expect(report.profiles.map(p => p.shapes.q?.max)).toEqual([
      [4, 4, 128, 40],
      [4, 4, 1, 40],
    ]);
  });

  it("builds bfloat16 and keeps it", async () => {
    const report = await built(request("bf16", { profiles: [{ name: "p", shapes: { x: upTo([3, 19], [989, 19]) } }] }));
    expect(report.io?.tensors.map(t => t.dtype)).toEqual(["bfloat16", "bfloat16"]);
  });

  it("takes builder options, and says which one has no effect", async () => {
    const events: EngineEvent[] = [];
    const wanted = request("cache", {
      profiles: cacheProfiles(19, 7),
      optimizationLevel: 5,
      workspaceMiB: 1024,
      weightStreaming: true,
      profilingVerbosity: "layer_names_only",
      timingCache: "none.cache",
    });
    const report = await built(wanted, event => events.push(event));
    expect(report.io?.from).toBe("engine_log");
    expect(events.flatMap(e => (e.event === "warning" ? [e.problem.code] : []))).toEqual(["TRT012"]);
  });

  it("finds the interpreter of the active virtual environment by itself", async () => {
    const found = await chooseBuilder(
      { ...request("cache"), builder: "auto", python: undefined } as unknown as EngineRequest,
      {
        PATH: "/nowhere",
        VIRTUAL_ENV: dirname(dirname(python)),
      },
    );
    expect(found).toMatchObject({ builder: "python", rtx: true, sms: expect.arrayContaining([86, 120]) });
  });

  it("refuses an unknown input and an input left out, both at once, with the right names", async () => {
    const [profile] = cacheProfiles(19, 7);
    const { mask, ...rest } = profile?.shapes ?? {};
    const problems = await refused(
      request("cache", { profiles: [{ name: "p", shapes: { ...rest, maks: mask as never } }] }),
    );
    expect(problems.map(p => p.code).sort()).toEqual(["TRT001", "TRT002"]);
    expect(problems[0]?.fix).toContain("write mask");
  });

  it("refuses sizes that contradict each other at min, opt and max, which TensorRT checks at opt alone", async () => {
    const problems = await refused(
      request("cache", { profiles: cacheProfiles(19, 7, (p, s) => p + s + (s === 7 ? 1 : 0)) }),
    );
    expect(problems).toMatchObject([
      {
        code: "TRT004",
        at: "profile 0 (context), max",
        what: expect.stringContaining("past + seq is 7 (past = 0, seq = 7)"),
      },
    ]);
  });

  it("explains TensorRT's own refusal where the names of the sizes do not show it", async () => {
    const shapes = { x: upTo([2, 3], [4, 19]), z: upTo([2, 7], [4, 19]) };
    const problems = await refused(
      request("hidden_sum", {
        profiles: [{ name: "p", shapes: { x: { ...shapes.x, min: [1, 1] }, z: { ...shapes.z, min: [1, 1] } } }],
      }),
    );
    expect(problems).toMatchObject([
      { code: "TRT103", what: expect.stringContaining("at add, dimensions not compatible") },
    ]);
  });

  const x19 = [{ name: "p", shapes: { x: upTo([3, 19], [989, 19]) } }];
  it.each<[string, string, string, Partial<EngineRequest>]>([
    ["external_gone", "TRT122", "gone.safetensors is missing", { profiles: x19 }],
    ["external_up", "TRT124", "lies outside the graph's directory", { profiles: x19 }],
    ["unknown_op", "TRT121", "FooBar (making y)", { profiles: x19 }],
    ["no_such_file", "TRT126", "is not there", {}],
    [
      "attention_fp32",
      "TRT132",
      "no fused kernel",
      {
        profiles: [
          { name: "p", shapes: Object.fromEntries([..."qkv"].map(n => [n, upTo([2, 3, 19, 40], [4, 3, 19, 40])])) },
        ],
      },
    ],
    ["fp8", "TRT005", "no compute capability is named", { profiles: [{ name: "p", shapes: { x: same(3, 32) } }] }],
    [
      "fp8",
      "TRT005",
      "SM 86 has no float8_e4m3fn",
      { profiles: [{ name: "p", shapes: { x: same(3, 32) } }], computeCapabilities: [86, 89] },
    ],
    ["bf16", "TRT005", "SM 75 has no bfloat16", { profiles: x19, computeCapabilities: [75] }],
    ["cache", "TRT005", "cannot build for SM 90", { computeCapabilities: [90] }],
    ["cache", "TRT002", "have dynamic sizes", {}],
    [
      "cache",
      "TRT014",
      "/nowhere/libp.so cannot be loaded",
      { plugins: [{ file: "/nowhere/libp.so", load: "dynamic" }], profiles: cacheProfiles(19, 7) },
    ],
    ["cache", "TRT010", "optimization_level 9", { optimizationLevel: 9 }],
  ])("ends %s with %s: %s", async (name, code, what, more) => {
    const problems = await refused(request(name, more));
    expect(problems.map(p => p.code)).toEqual([code]);
    expect(problems[0]?.what).toContain(what);
    expect(problems[0]?.at).not.toBe("");
  });

  it("refuses what cannot be built without a GPU, every flag by name", async () => {
    const problems = await refused(request("cache", { refit: true, stripWeights: true, versionCompatible: true }));
    expect(problems.map(p => p.at)).toEqual(["refit", "strip_weights", "version_compatible"]);
  });

  it("refuses a Git LFS pointer and an empty file", async () => {
    const wanted = request("cache");
    const file = join(dirname(dirname(wanted.engine)), "pointer.onnx");
    writeFileSync(file, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n");
    expect((await refused({ ...wanted, onnx: file })).map(p => p.code)).toEqual(["TRT125"]);
    writeFileSync(file, "");
    expect((await refused({ ...wanted, onnx: file })).map(p => p.code)).toEqual(["TRT128"]);
  });

  it("leaves nothing when it is cancelled, or when its time is up", async () => {
    const controller = new AbortController();
    const wanted = request("cache", { profiles: cacheProfiles(19, 7) });
    const cancelled = await refused(wanted, controller.signal, event => {
      if (event.event === "progress") controller.abort();
    });
    expect(cancelled.map(p => p.code)).toEqual(["TRT008"]);
    expect((await refused({ ...wanted, timeLimitSeconds: 0.001 })).map(p => p.code)).toEqual(["TRT009"]);
  });
});

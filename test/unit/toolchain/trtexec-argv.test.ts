import { describe, expect, it } from "vitest";
import type { EngineRequest } from "../../../src/toolchain/tensorrt/request.ts";
import { nameProblems, trtexecArgv } from "../../../src/toolchain/tensorrt/trtexec-argv.ts";
import { flagProblems, TRTEXEC_FLAGS } from "../../../src/toolchain/tensorrt/trtexec-flags.ts";

const context = {
  name: "context",
  shapes: {
    input_ids: { min: [1, 1], opt: [2, 19], max: [4, 989] },
    past_key_0: { min: [1, 3, 0, 16], opt: [2, 3, 0, 16], max: [4, 3, 0, 16] },
  },
};
const generation = {
  name: "generation",
  shapes: {
    input_ids: { min: [1, 1], opt: [2, 1], max: [4, 1] },
    past_key_0: { min: [1, 3, 1, 16], opt: [2, 3, 19, 16], max: [4, 3, 989, 16] },
  },
};
const request: EngineRequest = {
  backend: "tensorrt",
  builder: "trtexec",
  onnx: "e/llm/rank0.onnx",
  engine: "e/llm/rank0.engine",
  profiles: [context],
};
const tool = { builder: "trtexec", file: "/opt/trt/bin/trtexec" } as const;

describe("trtexec's command line", () => {
  it("of one profile has the three shape lists alone", () => {
    expect(trtexecArgv(request, tool)).toEqual([
      "/opt/trt/bin/trtexec",
      "--onnx=e/llm/rank0.onnx",
      "--saveEngine=e/llm/rank0.engine.partial",
      "--stronglyTyped",
      "--skipInference",
      "--minShapes=input_ids:1x1,past_key_0:1x3x0x16",
      "--optShapes=input_ids:2x19,past_key_0:2x3x0x16",
      "--maxShapes=input_ids:4x989,past_key_0:4x3x0x16",
      "--dumpOptimizationProfile",
    ]);
  });

  it("of two profiles opens each with its index", () => {
    expect(trtexecArgv({ ...request, profiles: [context, generation] }, tool).slice(5, -1)).toEqual([
      "--profile=0",
      "--minShapes=input_ids:1x1,past_key_0:1x3x0x16",
      "--optShapes=input_ids:2x19,past_key_0:2x3x0x16",
      "--maxShapes=input_ids:4x989,past_key_0:4x3x0x16",
      "--profile=1",
      "--minShapes=input_ids:1x1,past_key_0:1x3x1x16",
      "--optShapes=input_ids:2x1,past_key_0:2x3x19x16",
      "--maxShapes=input_ids:4x1,past_key_0:4x3x989x16",
    ]);
  });

  it("names no fixed input, and no shapes at all for a graph without dynamic sizes", () => {
    const inputs = [
      { name: "input_ids", dtype: "int32", dims: ["batch", "seq"] },
      { name: "past_key_0", dtype: "float16", dims: [1, 3, 0, 16] },
    ];
    const flags = trtexecArgv({ ...request, inputs }, tool);
    expect(flags).toContain("--maxShapes=input_ids:4x989");
    const fixed = [{ name: "input_ids", dtype: "int32", dims: [1, 1] }];
    expect(trtexecArgv({ ...request, inputs: fixed }, tool).join(" ")).not.toMatch(/Shapes|dumpOptimization/);
  });

  it("has every option in one order, whatever order the request names them in", () => {
    const all = {
      trtexecFlags: ["--noTF32", "--maxAuxStreams=0"],
      aliasedPluginIo: true,
      versionCompatible: true,
      stripWeights: true,
      refit: true,
      weightStreaming: true,
      profilingVerbosity: "detailed",
      timingCache: "timing.cache",
      workspaceMiB: 4096,
      optimizationLevel: 5,
      plugins: [
        { file: "libp.so", load: "dynamic" },
        { file: "libs.so", load: "serialize" },
        { file: "libold.so", load: "static" },
      ],
    } as const;
    const expected = [
      "--builderOptimizationLevel=5",
      "--memPoolSize=workspace:4096M",
      "--timingCacheFile=timing.cache",
      "--profilingVerbosity=detailed",
      "--allowWeightStreaming",
      "--refit",
      "--stripWeights",
      "--versionCompatible",
      "--dynamicPlugins=libp.so",
      "--dynamicPlugins=libs.so",
      "--setPluginsToSerialize=libs.so",
      "--staticPlugins=libold.so",
      "--preview=+aliasedPluginIO1003",
      "--dumpOptimizationProfile",
      "--noTF32",
      "--maxAuxStreams=0",
    ];
    expect(trtexecArgv({ ...request, ...all }, tool).slice(8)).toEqual(expected);
    const reversed = Object.fromEntries(Object.entries({ ...request, ...all }).reverse()) as unknown as EngineRequest;
    expect(trtexecArgv(reversed, tool).slice(8)).toEqual(expected);
  });

  it("of tensorrt_rtx names compute capabilities, and neither typing nor a timing cache", () => {
    const argv = trtexecArgv(
      { ...request, backend: "tensorrt_rtx", computeCapabilities: [86, 120], timingCache: "t" },
      { builder: "tensorrt_rtx", file: "tensorrt_rtx" },
    );
    expect(argv).toContain("--computeCapabilities=86,120");
    expect(argv.join(" ")).not.toMatch(/stronglyTyped|timingCache|dumpOptimizationProfile/);
  });

  it("quotes a colon in a name and refuses what no quotes save", () => {
    const shape = { min: [1], opt: [1], max: [19] };
    const odd = {
      ...request,
      profiles: [{ name: "p", shapes: { "images:0": shape, "a,b": shape, "it's": shape, "x*": shape } }],
    };
    expect(trtexecArgv(odd, tool)[5]).toMatch(/^--minShapes='images:0':1,/);
    expect(nameProblems(odd).map(p => p.what)).toEqual([
      expect.stringContaining("a,b"),
      expect.stringContaining("it's"),
      expect.stringContaining("x*"),
    ]);
  });

  it("leaves external data to the graph: the .onnx names its weight files itself", () => {
    expect(trtexecArgv(request, tool).filter(word => word.includes("safetensors"))).toEqual([]);
  });
});

describe("words after --", () => {
  const passing = Object.entries(TRTEXEC_FLAGS).filter(
    ([, flag]) => flag.use === "pass" && flag.only !== "tensorrt_rtx",
  );

  it("are at least thirty flags, each taken as it is and put last", () => {
    expect(passing.length).toBeGreaterThanOrEqual(30);
    const words = passing.map(([name, flag]) => (flag.value ? `--${name}=1` : `--${name}`));
    expect(flagProblems(words, { builder: "trtexec", version: "11.1.0" })).toEqual([]);
    expect(trtexecArgv({ ...request, trtexecFlags: words }, tool).slice(-words.length)).toEqual(words);
  });

  it.each(passing.map(([name, flag]) => ({ name, flag })))("take --$name only in its own form", ({ name, flag }) => {
    const [right, wrong] = flag.value ? [`--${name}=1`, `--${name}`] : [`--${name}`, `--${name}=1`];
    expect(flagProblems([right], { builder: "trtexec" })).toEqual([]);
    expect(flagProblems([wrong], { builder: "trtexec" })).toMatchObject([
      { code: "TRT006", fix: expect.stringContaining(`--${name}`) },
    ]);
  });

  it.each([
    ["--noTf32", "did you mean --noTF32?"],
    ["--maxAuxStream=2", "did you mean --maxAuxStreams?"],
    ["--zzzzzz", "trtexec --help"],
    ["--fp16", "mmtrt convert --dtype"],
    ["--iterations=10", "leave --iterations out"],
    ["--minShapes=x:1", "--max_batch_size"],
    ["--saveEngine=x", "--output_dir"],
    ["--noTF32=1", "write --noTF32"],
    ["noTF32", "join flag and value"],
    ["--constructor", "trtexec --help"],
    ["-v", "join flag and value"],
  ])("refuse %s and say what to do", (word, fix) => {
    const problems = flagProblems([word], { builder: "trtexec", version: "10.16.0" });
    expect(problems).toHaveLength(1);
    expect(problems[0]?.fix).toContain(fix);
    expect(problems[0]?.at).toBe(`-- ${word} (command line)`);
  });

  it("refuse what another version or tool has", () => {
    expect(flagProblems(["--decomposableAttentions=a"], { builder: "trtexec", version: "10.13.2" })[0]?.why).toBe(
      "it came with 10.14",
    );
    expect(flagProblems(["--decomposableAttentions=a"], { builder: "trtexec", version: "10.14.0" })).toEqual([]);
    expect(flagProblems(["--useGpu"], { builder: "trtexec" })[0]?.why).toBe("it is a flag of tensorrt_rtx");
    expect(flagProblems(["--useGpu"], { builder: "tensorrt_rtx", version: "1.7.1" })).toEqual([]);
    expect(flagProblems(["--hardwareCompatibilityLevel=ampere+"], { builder: "tensorrt_rtx" })).toHaveLength(1);
  });

  it("refuse a flag given twice, and report all words at once", () => {
    expect(flagProblems(["--noTF32", "--noTF32", "--foo", "--best"], { builder: "trtexec" })).toHaveLength(3);
  });
});

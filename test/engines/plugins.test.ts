import { cpSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type BuiltPlugins, buildPlugins, type PluginBuild } from "../../src/cli/plugins/build.ts";
import { tensorrtHeaders } from "../../src/cli/plugins/headers.ts";
import { pluginSources } from "../../src/cli/plugins/manifest.ts";
import { newPlugin } from "../../src/cli/plugins/scaffold.ts";
import {
  encodeModel,
  type OnnxAttribute,
  type OnnxModel,
  type OnnxTensor,
  tensorTypeOf,
} from "../../src/formats/onnx/schema.ts";
import { findNvcc } from "../../src/toolchain/nvcc/find.ts";
import { which } from "../../src/toolchain/probe.ts";
import { buildEngine } from "../../src/toolchain/tensorrt/builders.ts";

const SMS = [80, 86, 89, 90, 120];
const PYTHON = process.env.MMTRT_TEST_TENSORRT_PYTHON;
const HEADERS = process.env.MMTRT_TEST_TENSORRT_ROOT;
const nvcc = await which("nvcc", process.env.PATH ?? "");
const NO_NVCC = "needs CUDA's nvcc on PATH";
const NOT_HERE =
  "needs nvcc, MMTRT_TEST_TENSORRT_PYTHON with TensorRT-RTX, and MMTRT_TEST_TENSORRT_ROOT with TensorRT's headers";
const work = realpathSync(mkdtempSync(join(tmpdir(), "mmtrt-plugin-build-")));
afterAll(() => rmSync(work, { recursive: true, force: true }));

/** What the compiler accepts is what is checked here; nothing runs, so that minutes of optimizing would show nothing more. */
async function unoptimized(): Promise<NodeJS.ProcessEnv> {
  const { version } = await findNvcc(process.env);
  return Number.parseInt(version, 10) < 13 ? process.env : { ...process.env, NVCC_APPEND_FLAGS: "--Ofast-compile=max" };
}

async function build(rest: Partial<PluginBuild>): Promise<BuiltPlugins> {
  return buildPlugins({
    sources: pluginSources(),
    outputDir: join(work, "library"),
    sms: SMS,
    tensorrt: HEADERS === undefined ? undefined : await tensorrtHeaders(HEADERS, "MMTRT_TEST_TENSORRT_ROOT"),
    onnxruntime: undefined,
    workers: availableParallelism(),
    env: process.env,
    signal: new AbortController().signal,
    ...rest,
  });
}

describe("plugins compiled by nvcc", () => {
  it("compile for every SM that is promised, with their ABI hash in the library", {
    timeout: 900_000,
  }, async context => {
    if (nvcc === undefined) context.skip(NO_NVCC);
    const { library, abi, units } = await build({ env: await unoptimized() });
    expect(units.map(({ name }) => name)).toContain("plugins/decodeAttention/kernel.cu");
    expect(readFileSync(library).includes(`mmtrt-plugin-abi:${abi}`)).toBe(true);
  });

  it("from templates/plugin compile as they are", { timeout: 300_000 }, async context => {
    if (nvcc === undefined) context.skip(NO_NVCC);
    const sources = join(work, "sources");
    mkdirSync(join(sources, "plugins"), { recursive: true });
    for (const folder of ["common", "adapters"])
      cpSync(join(pluginSources(), folder), join(sources, folder), { recursive: true });
    await newPlugin("RotaryEmbedding", sources, "name");
    const { plugins } = await build({ sources, outputDir: join(work, "scaffold"), sms: [90] });
    expect(plugins.map(({ name }) => name)).toEqual(["RotaryEmbedding"]);
  });
});

const FLOAT16 = 10;
const INT32 = 6;

/** One node with the attributes by which TensorRT finds our plugin. `weights` are constants of zeros. */
function oneNode(
  op: string,
  attributes: Readonly<Record<string, number>>,
  inputs: Readonly<Record<string, readonly [number, ...(number | string)[]]>>,
  weights: Readonly<Record<string, readonly [number, number, ...number[]]>>,
  outputs: Readonly<Record<string, readonly (number | string)[]>>,
): OnnxModel {
  const info = (name: string, elemType: number, dims: readonly (number | string)[]) => ({
    name,
    type: {
      tensorType: {
        elemType,
        shape: { dim: dims.map(dim => (typeof dim === "number" ? { dimValue: dim } : { dimParam: dim })) },
      },
    },
  });
  const text = (name: string, value: string): OnnxAttribute => ({ name, type: 3, s: new TextEncoder().encode(value) });
  const attribute = Object.entries(attributes).map(
    ([name, value]): OnnxAttribute =>
      Number.isInteger(value) ? { name, type: 2, i: value } : { name, type: 1, f: value },
  );
  const initializer = Object.entries(weights).map(
    ([name, [dataType, bytes, ...dims]]): OnnxTensor => ({ name, dataType, dims, rawData: new Uint8Array(bytes) }),
  );
  return {
    irVersion: 10,
    producerName: "test",
    producerVersion: "1",
    opsetImport: [
      { domain: "", version: 23 },
      { domain: "mmtrt", version: 1 },
    ],
    functions: [],
    metadataProps: [],
    graph: {
      name: op,
      node: [
        {
          opType: op,
          domain: "mmtrt",
          input: [...Object.keys(inputs), ...Object.keys(weights)],
          output: Object.keys(outputs),
          attribute: [...attribute, text("plugin_namespace", "mmtrt"), text("plugin_version", "1")],
        },
      ],
      initializer,
      input: Object.entries(inputs).map(([name, [type, ...dims]]) => info(name, type, dims)),
      output: Object.entries(outputs).map(([name, dims]) => info(name, FLOAT16, dims)),
    },
  };
}

const x = { x: [FLOAT16, "b", "t", 64] } as const;
const GRAPHS = [
  oneNode("RmsNorm", { eps: 1.5e-5 }, x, { gamma: [FLOAT16, 128, 64] }, { y: ["b", "t", 64], sum: ["b", "t", 64] }),
  oneNode(
    "WeightOnlyMatmul",
    { group_size: 16 },
    x,
    { w: [3, 2048, 64, 32], s: [FLOAT16, 256, 4, 32] },
    { y: ["b", "t", 32] },
  ),
  oneNode(
    "WeightOnlyMatmul",
    { group_size: 16 },
    x,
    { w: [22, 1024, 64, 32], s: [FLOAT16, 256, 4, 32] },
    { y: ["b", "t", 32] },
  ),
  oneNode(
    "DecodeAttention",
    { scale: 0.125 },
    { q: [FLOAT16, "b", 4, 64], k: [FLOAT16, "b", 2, "c", 64], v: [FLOAT16, "b", 2, "c", 64], n: [INT32, "b"] },
    {},
    { y: ["b", 4, 64] },
  ),
];

describe("plugins in TensorRT-RTX", () => {
  let library = "";
  beforeAll(async () => {
    if (nvcc !== undefined && PYTHON !== undefined && HEADERS !== undefined)
      ({ library } = await build({ env: await unoptimized() }));
  }, 900_000);

  it.for(GRAPHS.map((graph, index) => ({ graph, index, name: graph.graph.node[0]?.opType })))(
    "$name, graph $index, is the parser's plugin and part of the engine",
    { timeout: 120_000 },
    async ({ graph, index }, context) => {
      if (library === "" || PYTHON === undefined) return context.skip(NOT_HERE);
      const onnx = join(work, `${index}.onnx`);
      writeFileSync(onnx, encodeModel(graph));
      const shapes = Object.fromEntries(
        graph.graph.input.map(input => {
          const at = (size: number): number[] => tensorTypeOf(input).dims.map(({ dimValue }) => dimValue ?? size);
          return [input.name, { min: at(1), opt: at(3), max: at(19) }];
        }),
      );
      const report = await buildEngine(
        {
          backend: "tensorrt_rtx",
          builder: "python",
          python: PYTHON,
          onnx,
          engine: join(work, `${index}.engine`),
          profiles: [{ name: "default", shapes }],
          computeCapabilities: [86],
          plugins: [{ file: library, load: "dynamic" }],
        },
        { env: process.env },
      );
      expect(report.layers).toMatchObject({ PLUGIN_V3: 1 });
      expect(report.bytes).toBeGreaterThan(1000);
      const outputs = report.io?.tensors.filter(({ kind }) => kind === "output").map(({ shape }) => shape);
      const expected = graph.graph.output.map(output =>
        tensorTypeOf(output).dims.map(({ dimValue }) => dimValue ?? -1),
      );
      expect(outputs).toEqual(expected);
    },
  );
});

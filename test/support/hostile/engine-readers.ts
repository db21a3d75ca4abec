import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ENTRY_FILE, encodeEntry, readEntry } from "../../../src/build/cache/entry.ts";
import { HashMemo } from "../../../src/build/cache/memo.ts";
import { compareDirectories } from "../../../src/build/diff/directories.ts";
import { graphDifferences } from "../../../src/build/diff/graphs.ts";
import { expandMatrix } from "../../../src/build/matrix/expand.ts";
import { resultIn } from "../../../src/build/matrix/gather.ts";
import { changedCells, readLock } from "../../../src/build/matrix/lockfile.ts";
import { readMatrix } from "../../../src/build/matrix/read.ts";
import { inspectEngine } from "../../../src/cli/inspect/engine.ts";
import { inspectOnnx } from "../../../src/cli/inspect/graphs.ts";
import { recognise } from "../../../src/cli/inspect/recognise.ts";
import { pluginSources, readManifests } from "../../../src/cli/plugins/manifest.ts";
import { partsOf } from "../../../src/formats/onnx/part.ts";
import { readPluginLibrary } from "../../../src/formats/plugin-library.ts";
import { readConfig } from "../../../src/options/config.ts";
import { openSession } from "../../../src/runtime/session.ts";
import { explain } from "../../../src/toolchain/explain/index.ts";
import { readPlanHeader } from "../../../src/toolchain/tensorrt/plan-header.ts";
import { SUCCESS_LOG } from "../trtexec-log.ts";
import { copied, directory, fixture, type Reader, written } from "./reader.ts";

const never = new AbortController().signal;
const ASKED = { prompt_tokens: 19, batch_size: 1, max_new_tokens: 1, images: 1 } as const;

function engine(target: string, form: Reader["form"]): Reader {
  return {
    name: `${target} of an engine directory`,
    form,
    prepare: directory(shared => shared.engine(), target),
    read: async dir => {
      await recognise(dir);
      await inspectEngine(dir, { request: ASKED, warn: () => {} });
      const session = await openSession(dir, { threads: 1 });
      try {
        const size = { batch: 1, promptTokens: 3, newTokens: 1, tableRows: 0, beams: 1 };
        session.check(size, "here");
        await session.prefill([[1, 2, 3]]);
      } finally {
        await session.close();
      }
    },
  };
}

function onnx(name: string): Reader {
  const whole = fixture(join("onnx", name));
  return {
    name,
    form: "bytes",
    prepare: copied(whole),
    read: async dir => {
      const file = join(dir, name);
      await recognise(file);
      await inspectOnnx(file, { tensors: true });
      await graphDifferences(whole, file);
      return graphDifferences(file, whole);
    },
  };
}

const MATRIX = `models:
  small: test/fixtures/models/llava-shapes
  other: { model_dir: ../other, tp_size: 2 }
defaults: { max_multimodal_len: auto, max_input_len: &long 512 }
precisions:
  int8: { use_weight_only: true, weight_only_precision: int8 }
targets:
  cpu: { backend: onnxruntime }
  rtx: { backend: tensorrt_rtx, compute_capabilities: [sm86, sm120], max_seq_len: *long }
matrix:
  precision: [float16, int8]
  max_batch_size: [1, 4, 19]
  target: [cpu, rtx]
exclude: [{ precision: int8, target: rtx }]
include: [{ name: extra, model: small, precision: float16, max_batch_size: 8, target: cpu }]
overrides: [{ when: { target: cpu }, max_beam_width: 3 }]
`;
const OPTIONS = `convert: { dtype: float16, tp_size: 2 }
build:
  max_batch_size: 8
  max_input_len: 989
  backend: tensorrt
  plugins: [a.so, b.so]
run: { max_new_tokens: 19, temperature: 0.5 }
`;
const LOCK = JSON.stringify({
  format: 1,
  mmtrt: "0.1.0",
  cuda: { nvcc: "13.0" },
  cells: {
    "a-1": {
      model: { "config.json": "0".repeat(64) },
      options: { dtype: "float16" },
      trtexec_flags: [],
      builder: null,
      plugins: [],
      outputs: null,
    },
  },
});
const KEY = "a".repeat(64);
const ENTRY = encodeEntry({
  format: 1,
  kind: "plan",
  key: KEY,
  inputs: { a: 1 },
  files: [{ path: "x", size: 1, sha256: KEY }],
  facts: { b: [2] },
  seconds: 1,
  peak_bytes: null,
});
const RESULT = JSON.stringify({
  event: "result",
  file: "matrix.yaml",
  version: "0.1.0",
  workers: 2,
  shard: null,
  seconds: 3.5,
  cells: [
    {
      name: "a",
      axes: { precision: "float16" },
      state: "built",
      dir: "engines/a",
      seconds: 1,
      reason: null,
      steps: [],
      problems: [],
      at: "matrix.yaml:1:1",
    },
  ],
  steps: [],
});

const MATRICES: readonly Reader[] = [
  {
    name: "matrix.yaml",
    form: "text",
    prepare: written("matrix.yaml", MATRIX),
    read: async dir => expandMatrix(await readMatrix(join(dir, "matrix.yaml"), "FILE")),
  },
  {
    name: "mmtrt.yaml",
    form: "text",
    prepare: written("mmtrt.yaml", OPTIONS),
    read: async dir => (await readConfig(join(dir, "mmtrt.yaml"), "--config", "build")).values,
  },
  {
    name: "plugin.yaml",
    form: "text",
    prepare: async dir => {
      const file = "plugins/rmsNorm/plugin.yaml";
      await mkdir(join(dir, "plugins/rmsNorm"), { recursive: true });
      await copyFile(join(pluginSources(), file), join(dir, file));
      return file;
    },
    read: readManifests,
  },
  {
    name: "mmtrt.lock",
    form: "json",
    prepare: written("mmtrt.lock", LOCK),
    read: async dir => {
      const lock = await readLock(join(dir, "mmtrt.lock"));
      changedCells([], lock, lock);
    },
  },
  {
    name: "what a job printed",
    form: "json",
    prepare: written("job.json", RESULT),
    read: async dir => resultIn({ file: "job.json", text: await textOf(join(dir, "job.json")) }, "0.1.0"),
  },
];

const CACHES: readonly Reader[] = [
  {
    name: "entry of the build cache",
    form: "json",
    prepare: written(ENTRY_FILE, ENTRY),
    read: dir => readEntry(dir, "plan", KEY),
    accept: (bytes, read) => {
      if (
        typeof read !== "string" &&
        JSON.stringify(JSON.parse(bytes.toString())) !== JSON.stringify(JSON.parse(ENTRY))
      )
        throw new Error("a damaged entry was taken for a whole one");
    },
  },
  {
    name: "memo of hashes",
    form: "json",
    prepare: written("memo.json", JSON.stringify({ format: 1, files: { "1:2": [3, "4", KEY] } })),
    read: async dir => (await HashMemo.load(join(dir, "memo.json"))).hash(join(dir, "memo.json")),
  },
];

async function textOf(file: string): Promise<string> {
  const { readFile } = await import("node:fs/promises");
  return readFile(file, "utf8");
}

export const ENGINE_READERS: readonly Reader[] = [
  engine("mmtrt.json", "json"),
  engine("llm/config.json", "json"),
  engine("visual/config.json", "json"),
  engine("llm/rank0.onnx", "bytes"),
  engine("llm/rank0.safetensors", "safetensors"),
  {
    name: "two directories to compare",
    form: "json",
    prepare: directory(shared => shared.checkpoint(), "mmtrt.json"),
    read: async dir => {
      await copyFile(join(dir, "mmtrt.json"), join(dir, "..", "damaged.json"));
      return compareDirectories(dir, dir, never);
    },
  },
  ...["cache.onnx", "fp8.onnx", "external.onnx", "attention_fp32.onnx"].map(onnx),
  {
    name: "pieces of an ONNX graph",
    form: "bytes",
    prepare: directory(shared => shared.engine(), "llm/rank0.onnx"),
    read: async dir => {
      const { readOnnx } = await import("../../../src/formats/onnx/read.ts");
      const { graph } = await readOnnx(join(dir, "llm/rank0.onnx"));
      const { readFile } = await import("node:fs/promises");
      const nodes = { start: 0, end: graph.node.length };
      partsOf(await readFile(join(dir, "llm/rank0.onnx")))({ nodes, inputs: [], outputs: [], initializers: new Set() });
    },
  },
  ...MATRICES,
  ...CACHES,
  {
    name: "head of an engine file",
    form: "bytes",
    prepare: async dir => {
      const head = Buffer.alloc(64);
      head.write("ftrt", 0, "latin1");
      head.set([10, 16, 0, 72], 24);
      await writeFile(join(dir, "model.engine"), head);
      return "model.engine";
    },
    read: dir => readPlanHeader(join(dir, "model.engine")),
  },
  {
    name: "plugin library",
    form: "bytes",
    prepare: written("lib.so", `\x7fELF mmtrt-plugin-abi:${KEY} mmtrt-plugin-ops:RmsNorm/1;Lora/2;. getCreators\0`),
    read: dir => readPluginLibrary(join(dir, "lib.so")),
  },
  {
    name: "log of a builder",
    form: "text",
    prepare: written("build.log", SUCCESS_LOG.join("\n")),
    read: async dir => explain(await textOf(join(dir, "build.log")), {}),
  },
];

import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fakePlan } from "./fake-plan.ts";
import { ROOT } from "./sources.ts";

/** A command that writes something, and what it starts from. */
export interface FaultJob {
  readonly name: string;
  readonly argv: readonly string[];
  /** What is written; it must be the old one, the new one or absent. */
  readonly output: string;
  /** Copied into the directory before: name there, and where from. */
  readonly inputs: Readonly<Record<string, string>>;
  /** Commands run before, without faults: what the command starts from. */
  readonly before?: readonly (readonly string[])[];
  /** Programs that stand in for TensorRT's and CUDA's are written into `tools`; gives the environment that finds them. */
  readonly tools?: (tools: string) => Readonly<Record<string, string>>;
  /** Faults happen in the program that the command starts, not in mmtrt. */
  readonly inTool?: true;
  /** It refuses a directory that holds its own result, because it cannot tell. */
  readonly once?: true;
  /** What may lie about afterwards besides inputs and output: caches, logs of what failed. */
  readonly leaves?: RegExp;
}

/** What the shim is told, as a shell reads it, where the faults are a tool's. */
export const TOOL_SETTINGS = "fault.env";

export const MATRIX =
  "models: { m: model }\ndefaults: { max_input_len: 64, max_seq_len: 96 }\nmatrix: { max_batch_size: [1] }\n";

const parity = (name: string): string => join(ROOT, "test/fixtures/parity", name);
const SHAPES = join(ROOT, "test/fixtures/models/llava-shapes");
const CONVERT = ["convert", "model", "--output_dir", "checkpoint"];
const LIMITS = ["--max_batch_size", "1", "--max_input_len", "64", "--max_seq_len", "96"];
const BUILD = ["build", "--checkpoint_dir", "checkpoint", "--output_dir", "engine", ...LIMITS];
const LOGS = /^engine\.logs$/;
/** What an interrupted calibration goes on from, what it measured, and its scratch space. */
const CALIBRATION = /^(checkpoint\.(calibration|act_ranges\.safetensors)|\.cache)$/;

export const JOBS: readonly FaultJob[] = [
  { name: "convert", argv: CONVERT, output: "checkpoint", inputs: { model: parity("llava_mqa") } },
  {
    name: "convert to INT4",
    argv: [...CONVERT, "--use_weight_only", "--weight_only_precision", "int4", "--tp_size", "2"],
    output: "checkpoint",
    inputs: { model: parity("llama_tied_bias") },
  },
  {
    name: "convert to AWQ",
    argv: [...CONVERT, "--qformat", "int4_awq", "--awq_block_size", "32", "--calib_size", "1"],
    output: "checkpoint",
    inputs: { model: SHAPES },
    leaves: CALIBRATION,
  },
  {
    name: "convert to SmoothQuant",
    argv: [...CONVERT, "--smoothquant", "0.5", "--per_channel", "--calib_size", "1"],
    output: "checkpoint",
    inputs: { model: SHAPES },
    leaves: CALIBRATION,
  },
  { name: "build", argv: BUILD, output: "engine", inputs: { model: parity("llava_mqa") }, before: [CONVERT] },
  {
    name: "build over another",
    argv: [...BUILD.slice(0, 6), "2", ...BUILD.slice(7), "--force"],
    output: "engine",
    inputs: { model: parity("llava_mqa") },
    before: [CONVERT, BUILD],
  },
  {
    name: "build with trtexec, which fails itself",
    argv: [...BUILD, "--backend", "tensorrt", "--builder", "trtexec"],
    output: "engine",
    inputs: { model: parity("llava_mqa") },
    before: [CONVERT],
    tools: trtexec,
    inTool: true,
    leaves: LOGS,
  },
  {
    name: "lora merge",
    argv: ["lora", "merge", "model", "adapter", "--output_dir", "merged"],
    output: "merged",
    once: true,
    inputs: { model: parity("llama_gqa"), adapter: join(ROOT, "test/fixtures/lora/llama_gqa/first") },
  },
  {
    name: "matrix",
    argv: ["matrix", "matrix.yaml"],
    output: "engines",
    inputs: { model: parity("llava_mqa") },
    leaves: /^(\.mmtrt|mmtrt\.lock)$/,
  },
  {
    name: "plugins build",
    argv: ["plugins", "build", "--output_dir", "plugins", "--sm", "90"],
    output: "plugins/libmmtrt_plugins.so",
    inputs: {},
    tools: compilers,
    leaves: /^plugins$/,
  },
  {
    name: "plugins build with nvcc, which fails itself",
    argv: ["plugins", "build", "--output_dir", "plugins", "--sm", "90"],
    output: "plugins/libmmtrt_plugins.so",
    inputs: {},
    tools: compilers,
    inTool: true,
    leaves: /^plugins$/,
  },
];

/** The stand-in of the tests of TensorRT, which writes an engine of zeros. */
function trtexec(tools: string): Readonly<Record<string, string>> {
  const plan = { version: "101600", engine: fakePlan("ftrt", [10, 16, 0, 72]).toString("base64") };
  writeFileSync(join(tools, "plan.json"), JSON.stringify(plan));
  const standIn = join(ROOT, "test/support/standins/trtexec.mjs");
  const lines = [`export TRT_STANDIN="${join(tools, "plan.json")}"`, `exec "${process.execPath}" "${standIn}" "$@"`];
  program(tools, "trtexec", lines);
  return { TENSORRT_ROOT: tools };
}

/** nvcc and a C++ compiler that write their arguments, less the name of the output, which has the number of a process in it. */
function compilers(tools: string): Readonly<Record<string, string>> {
  const lines = [
    'case "$1" in --version) echo "Cuda compilation tools, release 13.0, V13.0.88"; exit 0;; esac',
    'words=""; for word; do last=$word; [ "$word" = -o ] || words="$words $word"; done',
    `printf '%s\\n' "\${words% *}" > "${tools}/words.$$"; exec cat "${tools}/words.$$" > "$last"`,
  ];
  program(tools, "nvcc", lines);
  program(tools, "c++", lines);
  return { PATH: `${join(tools, "bin")}:/bin:/usr/bin`, CXX: join(tools, "bin", "c++") };
}

function program(tools: string, name: string, lines: readonly string[]): void {
  const settings = join(tools, TOOL_SETTINGS);
  mkdirSync(join(tools, "bin"), { recursive: true });
  const file = join(tools, "bin", name);
  writeFileSync(file, ["#!/bin/sh", `[ -f "${settings}" ] && . "${settings}"`, ...lines, ""].join("\n"));
  chmodSync(file, 0o755);
}

import { existsSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { availableParallelism, totalmem } from "node:os";
import { join } from "node:path";
import { MmtrtError, type Problem, throwIfAny } from "../../diagnostics/index.ts";
import { LIBRARY, readPluginLibrary } from "../../formats/plugin-library.ts";
import { environment } from "../../options/env.ts";
import { type DoctorOptions, doctorOptions } from "../../options/tables/doctor.ts";
import { pluginsOptions } from "../../options/tables/plugins.ts";
import { nvccVersion, queryGpus } from "../../toolchain/machine.ts";
import { RUNNER } from "../../toolchain/runner/find.ts";
import { startRunner } from "../../toolchain/runner/process.ts";
import { findPython, findTool } from "../../toolchain/tensorrt/find.ts";
import type { TensorRTBackend } from "../../toolchain/tensorrt/request.ts";
import { defineCommand } from "../command.ts";
import { missingPackage } from "../missing-package.ts";
import { formatAmount } from "../ui/progress.ts";
import { formatTable } from "../ui.ts";

/** One thing a machine has or lacks. */
interface Finding {
  readonly name: string;
  readonly state: "ok" | "missing" | "broken";
  /** Version or size. */
  readonly detail: string;
  /** What mmtrt does with it. */
  readonly use: string;
  /** Set when nothing works without it. */
  readonly problem?: Problem;
}

type Check = (options: DoctorOptions, signal: AbortSignal) => Promise<Finding>;

const CHECKS: readonly Check[] = [
  node,
  onnxruntime,
  sharp,
  memory,
  disk,
  gpu,
  nvcc,
  (_, signal) => tool("tensorrt", signal),
  (_, signal) => tool("tensorrt_rtx", signal),
  bindings,
  plugins,
  runner,
];

export const doctor = defineCommand({
  name: "doctor",
  options: doctorOptions,
  async run({ options, ui, signal }) {
    const findings = await Promise.all(CHECKS.map(check => check(options, signal)));
    const rows = findings.map(({ name, state, detail, use }) => [name, state, use, detail]);
    ui.result(formatTable(["part", "state", "used for", "found"], rows), {
      parts: findings.map(({ name, state, detail, use }) => ({ name, state, detail, use })),
    });
    throwIfAny(findings.flatMap(({ problem }) => (problem === undefined ? [] : [problem])));
  },
});

async function node(): Promise<Finding> {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const enough = (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major > 22;
  const finding = { name: "Node.js", detail: process.versions.node, use: "runs mmtrt" };
  if (enough) return { ...finding, state: "ok" };
  const problem: Problem = {
    code: "ENV002",
    at: process.execPath,
    what: `Node.js ${process.versions.node} is too old or of a line without support; 20.19, 22.12 or later is needed`,
    why: "mmtrt and its packages use what those versions brought",
    fix: "install a current Node.js LTS",
  };
  return { ...finding, state: "broken", problem };
}

function onnxruntime(): Promise<Finding> {
  return nativePackage("onnxruntime-node", "runs the graphs on the CPU: run, verify, demo", async () => {
    const { env, listSupportedBackends } = await import("onnxruntime-node");
    const backends = listSupportedBackends().flatMap(({ name, bundled }) => (bundled ? [name] : []));
    return `${env.versions.node ?? env.versions.common} (${backends.join(", ")})`;
  });
}

function sharp(): Promise<Finding> {
  return nativePackage("sharp", "decodes and resizes images", async () => {
    const { versions } = (await import("sharp")).default;
    return `${versions.sharp ?? "?"} (libvips ${versions.vips})`;
  });
}

async function nativePackage(name: string, use: string, version: () => Promise<string>): Promise<Finding> {
  try {
    return { name, state: "ok", detail: await version(), use };
  } catch (error) {
    const missing = missingPackage(error);
    if (!(missing instanceof MmtrtError)) throw error;
    const [problem] = missing.problems;
    return { name, state: "broken", detail: "does not load", use, ...(problem && { problem }) };
  }
}

async function memory(): Promise<Finding> {
  const detail = `${availableParallelism()} cores, ${formatAmount(totalmem(), "B")} of memory`;
  return {
    name: "CPU",
    state: "ok",
    detail,
    use: "convert and build stream; ONNX Runtime holds the weights in memory",
  };
}

async function disk(): Promise<Finding> {
  const { bavail, bsize } = await statfs(".");
  return {
    name: "disk",
    state: "ok",
    detail: `${formatAmount(bavail * bsize, "B")} free here`,
    use: "a checkpoint takes as much as the model; engines hard-link it",
  };
}

async function gpu(_: DoctorOptions, signal: AbortSignal): Promise<Finding> {
  const gpus = await queryGpus({ signal });
  const detail = gpus
    ?.map(g => `${g.name}, SM ${g.sm}, ${formatAmount(g.memoryBytes, "B")}, driver ${g.driver}`)
    .join("; ");
  return optional("NVIDIA GPU", detail, "runs TensorRT engines; not needed to convert or to build graphs");
}

async function nvcc(_: DoctorOptions, signal: AbortSignal): Promise<Finding> {
  const version = await nvccVersion({ signal });
  return optional("nvcc", version && `CUDA ${version}`, "compiles mmtrt's plugins");
}

/** The same search as `build` makes, so that doctor says what a build would find. */
async function tool(backend: TensorRTBackend, signal: AbortSignal): Promise<Finding> {
  const { found, tried } = await findTool(backend, { env: environment(), signal });
  const use = `builds engines: build --backend ${backend}`;
  const [first] = found;
  const name = backend === "tensorrt" ? "trtexec" : "tensorrt_rtx";
  if (first === undefined) return { name, state: "missing", detail: tried.join("; "), use };
  if (first.version === undefined) return { name, state: "broken", detail: `${first.file} does not start`, use };
  return { name, state: "ok", detail: `TensorRT ${first.version} (${first.file})`, use };
}

async function bindings({ python }: DoctorOptions, signal: AbortSignal): Promise<Finding> {
  const { found, tried } = await findPython("auto", { env: environment(), python, signal });
  const [first] = found;
  const about = {
    name: "TensorRT for Python",
    use: "builds engines where there is no such tool, with tensorrt_rtx without a GPU too",
  };
  if (first?.builder !== "python") return { ...about, state: "missing", detail: tried.join("; ") };
  return { ...about, state: "ok", detail: `${first.module} ${first.version} (${first.file})` };
}

/** Where `mmtrt plugins build` puts it unless told otherwise. */
async function plugins(): Promise<Finding> {
  const file = join(pluginsOptions.output_dir.default, LIBRARY);
  const about = { name: "plugin library", use: `attention and other kernels in engines: build --plugins ${file}` };
  const library = await readPluginLibrary(file).catch((error: NodeJS.ErrnoException) => error.code ?? error.message);
  if (library === "ENOENT") return { ...about, state: "missing", detail: `no ${file}: mmtrt plugins build makes it` };
  if (typeof library === "string") return { ...about, state: "broken", detail: `${file} cannot be read (${library})` };
  if (library.abi === null) return { ...about, state: "broken", detail: `${file} is not a library of mmtrt's` };
  const callers = { tensorrt: "TensorRT", onnxruntime: "ONNX Runtime" };
  const from = library.adapters.map(adapter => callers[adapter]).join(" and ") || "its C interface alone";
  const ops = library.ops.map(op => op.split("/", 1)[0]).join(", ");
  return { ...about, state: "ok", detail: `${ops}; for ${from}; ABI ${library.abi.slice(0, 12)}` };
}

/** It is started and asked what it can open: a program of another machine or version says so here. */
async function runner(): Promise<Finding> {
  const file = join(pluginsOptions.output_dir.default, RUNNER);
  const about = { name: "native runner", use: "runs engines on a GPU: run --device cuda" };
  if (!existsSync(file)) return { ...about, state: "missing", detail: `no ${file}: mmtrt plugins build makes it` };
  const started = await startRunner({ file, env: environment() });
  try {
    const { engines, version } = await started.receive();
    const kinds = Array.isArray(engines)
      ? engines.map(kind => (kind === "tensorrt" ? "TensorRT" : "ONNX Runtime"))
      : [];
    const opens = kinds.length === 0 ? "opens no engines: it was compiled without headers" : kinds.join(" and ");
    return { ...about, state: kinds.length === 0 ? "broken" : "ok", detail: `${opens}; of mmtrt ${version}` };
  } catch (error) {
    if (!(error instanceof MmtrtError)) throw error;
    return { ...about, state: "broken", detail: error.problems[0]?.what ?? error.message };
  } finally {
    await started.close();
  }
}

function optional(name: string, detail: string | undefined, use: string): Finding {
  return detail === undefined || detail === ""
    ? { name, state: "missing", detail: "", use }
    : { name, state: "ok", detail, use };
}

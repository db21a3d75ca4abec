import { statfs } from "node:fs/promises";
import { availableParallelism, totalmem } from "node:os";
import { MmtrtError, type Problem, throwIfAny } from "../../diagnostics/index.ts";
import { environment } from "../../options/env.ts";
import { type DoctorOptions, doctorOptions } from "../../options/tables/doctor.ts";
import { nvccVersion, queryGpus, tensorrtBindings, trtexecVersion } from "../../toolchain/machine.ts";
import { which } from "../../toolchain/probe.ts";
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

const CHECKS: readonly Check[] = [node, onnxruntime, sharp, memory, disk, gpu, nvcc, trtexec, bindings];

export const doctor = defineCommand({
  name: "doctor",
  options: doctorOptions,
  async run({ options, ui, signal }) {
    const findings = await Promise.all(CHECKS.map(check => check(options, signal)));
    const rows = findings.map(({ name, state, detail, use }) => [name, state, detail, use]);
    ui.result(formatTable(["part", "state", "found", "used for"], rows), {
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

async function trtexec(options: DoctorOptions, signal: AbortSignal): Promise<Finding> {
  const file = options.trtexec ?? (await which("trtexec", environment().PATH ?? ""));
  const version = file === undefined ? undefined : await trtexecVersion(file, { signal });
  const finding = optional("trtexec", version && `TensorRT ${version}`, "builds engines: build --backend tensorrt");
  return file !== undefined && version === undefined
    ? { ...finding, state: "broken", detail: `${file} says no version` }
    : finding;
}

async function bindings({ python = "python3" }: DoctorOptions, signal: AbortSignal): Promise<Finding> {
  const found = await tensorrtBindings(python, { signal });
  const detail = found && [...found].map(([name, version]) => `${name} ${version}`).join(", ");
  return optional(
    "TensorRT for Python",
    detail || undefined,
    "builds engines where there is no trtexec, without a GPU too (tensorrt_rtx)",
  );
}

function optional(name: string, detail: string | undefined, use: string): Finding {
  return detail === undefined || detail === ""
    ? { name, state: "missing", detail: "", use }
    : { name, state: "ok", detail, use };
}

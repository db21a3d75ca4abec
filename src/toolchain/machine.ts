import { type Probe, type ProbeOptions, probe } from "./probe.ts";

export interface Gpu {
  readonly name: string;
  /** 90 for compute capability 9.0. */
  readonly sm: number;
  readonly memoryBytes: number;
  readonly driver: string;
}

const QUERY = ["--query-gpu=name,compute_cap,memory.total,driver_version", "--format=csv,noheader,nounits"] as const;

/** The GPUs that nvidia-smi sees; undefined when there is no nvidia-smi or no driver. */
export async function queryGpus(options: ProbeOptions = {}): Promise<readonly Gpu[] | undefined> {
  const answer = await probe("nvidia-smi", QUERY, options);
  return answer.state === "ok" ? parseGpus(answer.stdout) : undefined;
}

/** `NVIDIA H200, 9.0, 143771, 580.65.06`, one GPU a line; memory in MiB. Lines of another form are left out. */
export function parseGpus(csv: string): readonly Gpu[] {
  return csv.split("\n").flatMap(line => {
    const [name, capability, memory, driver] = line.split(",").map(cell => cell.trim());
    const [, major, minor] = /^(\d+)\.(\d+)$/.exec(capability ?? "") ?? [];
    if (name === undefined || driver === undefined || major === undefined || minor === undefined) return [];
    return [{ name, sm: Number(major) * 10 + Number(minor), memoryBytes: Number(memory) * 1024 ** 2, driver }];
  });
}

/** `13.0` of nvcc; undefined when there is none. */
export async function nvccVersion(options: ProbeOptions = {}): Promise<string | undefined> {
  return /release (\d+\.\d+)/.exec((await probe("nvcc", ["--version"], options)).stdout)?.[1];
}

/** `10.3.0` from a trtexec's banner (`TensorRT v100300`, older ones `v8601`). */
export function parseTrtexecVersion({ stdout, stderr }: Pick<Probe, "stdout" | "stderr">): string | undefined {
  const digits = /TensorRT(?:-RTX)? v(\d{4,6})\b/.exec(stdout + stderr)?.[1];
  if (digits === undefined) return undefined;
  const value = Number(digits);
  // Since TensorRT 10 the number is major × 10000 + minor × 100 + patch; before, major × 1000 + minor × 100 + patch.
  const unit = value >= 10_000 ? 10_000 : 1000;
  return `${Math.floor(value / unit)}.${Math.floor((value % unit) / 100)}.${value % 100}`;
}

/** The pip package of TensorRT-RTX has the third name. */

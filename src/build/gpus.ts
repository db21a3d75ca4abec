import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { parse } from "yaml";
import { fail } from "../diagnostics/index.ts";
import { packageRoot } from "../formats/package-root.ts";

/** One file of configs/gpus: what a kind of GPU has. */
export interface Gpu {
  readonly name: string;
  readonly aliases: readonly string[];
  /** Compute capability without its dot: 89 for 8.9. */
  readonly sm: number;
  readonly multiprocessors: number;
  /** As nvidia-smi reports it, a little less than on the box. */
  readonly memory_mib: number;
  readonly bandwidth_gb_s: number;
  /** Dense, without sparsity; null where the hardware lacks the dtype. */
  readonly peak_tflops: { readonly fp16: number; readonly fp8: number | null; readonly int8: number | null };
}

/** The GPU called `name` (case, spaces and dashes do not matter). Errors: BLD008 with the known names. */
export async function findGpu(name: string, at: string): Promise<Gpu> {
  const gpus = await readGpus();
  const wanted = plain(name);
  const found = gpus.find(gpu => [gpu.name, ...gpu.aliases].some(known => plain(known) === wanted));
  return (
    found ??
    fail({
      code: "BLD008",
      what: `GPU ${JSON.stringify(name)} is not known`,
      at,
      why: "its memory and bandwidth are read from configs/gpus",
      fix: `use one of ${gpus.map(gpu => gpu.name).join(", ")}`,
    })
  );
}

export async function readGpus(dir: string = join(packageRoot(), "configs", "gpus")): Promise<readonly Gpu[]> {
  const files = (await readdir(dir)).filter(file => file.endsWith(".yaml")).sort();
  return Promise.all(files.map(async file => asGpu(parse(await readFile(join(dir, file), "utf8")), basename(file))));
}

/** Our own data: a wrong file is a bug, found by the test that reads them all. */
function asGpu(value: unknown, file: string): Gpu {
  if (!isGpu(value)) throw new Error(`configs/gpus/${file} does not describe a GPU`);
  return value;
}

function isGpu(value: unknown): value is Gpu {
  if (typeof value !== "object" || value === null) return false;
  const { name, aliases, peak_tflops: peak, ...sizes } = value as Record<string, unknown>;
  const positive = (n: unknown): boolean => typeof n === "number" && n > 0;
  return (
    typeof name === "string" &&
    Array.isArray(aliases) &&
    aliases.every(alias => typeof alias === "string") &&
    ["sm", "multiprocessors", "memory_mib", "bandwidth_gb_s"].every(key => positive(sizes[key])) &&
    Object.keys(sizes).length === 4 &&
    typeof peak === "object" &&
    peak !== null &&
    positive((peak as Record<string, unknown>).fp16) &&
    ["fp8", "int8"].every(key => [(peak as Record<string, unknown>)[key]].every(n => n === null || positive(n)))
  );
}

function plain(name: string): string {
  return name.toLowerCase().replaceAll(/[\s_-]/g, "");
}

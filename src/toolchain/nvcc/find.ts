import { join } from "node:path";
import { fail } from "../../diagnostics/index.ts";
import { probe, which } from "../probe.ts";
import type { ToolEnvironment } from "../tensorrt/request.ts";

export interface Nvcc {
  readonly file: string;
  /** `13.0`. */
  readonly version: string;
}

/** nvcc on PATH, or below CUDA_HOME or CUDA_PATH. Throws PLG004. */
export async function findNvcc(env: ToolEnvironment, signal?: AbortSignal): Promise<Nvcc> {
  const roots = [env.CUDA_HOME, env.CUDA_PATH].flatMap(root => (root ? [join(root, "bin")] : []));
  const places = [env.PATH ?? "", ...roots];
  for (const place of places) {
    const file = await which("nvcc", place);
    if (file === undefined) continue;
    const { stdout } = await probe(file, ["--version"], signal === undefined ? {} : { signal });
    const version = /release (\d+\.\d+)/.exec(stdout)?.[1];
    if (version !== undefined) return { file, version };
  }
  return fail({
    code: "PLG004",
    at: "PATH",
    what: `no nvcc on PATH${roots.length === 0 ? "" : ` or in ${roots.join(", ")}`}`,
    why: "kernels are compiled by CUDA's own compiler; a GPU is not needed for it",
    fix: "install the CUDA toolkit, or set CUDA_HOME to where it is",
  });
}

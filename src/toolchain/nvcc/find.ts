import { join } from "node:path";
import { fail } from "../../diagnostics/index.ts";
import { probe, which } from "../probe.ts";
import type { ToolEnvironment } from "../tensorrt/request.ts";

export interface Compiler {
  readonly file: string;
  /** `13.0` of CUDA; of a host compiler its first line. */
  readonly version: string;
}

export type Nvcc = Compiler;

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

/** The C++ compiler of the machine: CXX, or the first of the usual names on PATH. Throws PLG010. */
export async function findHostCompiler(env: ToolEnvironment, signal?: AbortSignal): Promise<Compiler> {
  const names = env.CXX === undefined || env.CXX === "" ? ["c++", "g++", "clang++"] : [env.CXX];
  for (const name of names) {
    const file = name.includes("/") ? name : await which(name, env.PATH ?? "");
    if (file === undefined) continue;
    const { stdout } = await probe(file, ["--version"], signal === undefined ? {} : { signal });
    const version = stdout.split("\n", 1)[0]?.trim();
    if (version) return { file, version };
  }
  return fail({
    code: "PLG010",
    at: env.CXX ? "CXX (environment)" : "PATH",
    what: `no C++ compiler: ${names.join(", ")}`,
    why: "the runner is compiled for the machine that it runs on",
    fix: "install g++ 9 or later (Debian: apt-get install g++), or set CXX",
  });
}

import { access } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type CompiledUnit, type CompileUnit, compileUnits, linkProgram } from "../../toolchain/nvcc/compile.ts";
import { type Compiler, findHostCompiler } from "../../toolchain/nvcc/find.ts";
import { which } from "../../toolchain/probe.ts";
import { RUNNER } from "../../toolchain/runner/find.ts";
import type { ToolEnvironment } from "../../toolchain/tensorrt/request.ts";
import { filesOf } from "./build.ts";
import type { Headers } from "./headers.ts";

export interface RunnerBuild {
  /** `native-plugins`, with runner/. */
  readonly sources: string;
  readonly outputDir: string;
  readonly tensorrt: Headers | undefined;
  readonly onnxruntime: Headers | undefined;
  /** Of mmtrt; the runner tells it. */
  readonly version: string;
  readonly workers: number;
  readonly env: ToolEnvironment;
  readonly signal: AbortSignal;
  readonly onUnit?: (unit: CompiledUnit, done: number, total: number) => void;
}

export interface BuiltRunner {
  readonly file: string;
  readonly compiler: Compiler;
  /** Kinds of engines that it opens. */
  readonly engines: readonly ("onnxruntime" | "tensorrt")[];
  readonly units: readonly CompiledUnit[];
}

/** How the names of sources begin that are there for one library's headers alone. */
const ENGINE_SOURCES = { onnxruntime: "engine_onnxruntime", tensorrt: "engine_tensorrt" } as const;

/** Compiles and links the native runner with the machine's C++ compiler; nothing of CUDA is linked. Throws PLG003, PLG010. */
export async function buildRunner(build: RunnerBuild): Promise<BuiltRunner> {
  const compiler = await findHostCompiler(build.env, build.signal);
  const options = { ...build, compiler, cacheDir: join(build.outputDir, "objects") };
  const cuda = build.tensorrt === undefined ? undefined : await cudaHeaders(build.env);
  const includes = {
    onnxruntime: build.onnxruntime && [build.onnxruntime.folder],
    // TensorRT's headers name a few of CUDA's types.
    tensorrt: build.tensorrt && (cuda === undefined ? undefined : [build.tensorrt.folder, cuda]),
  };
  const units = await compileUnits(await unitsOf(build, includes), options);
  const file = join(build.outputDir, RUNNER);
  const objects = units.map(({ object }) => object);
  await linkProgram(objects, file, ["-ldl", "-lpthread"], options);
  const engines = (["onnxruntime", "tensorrt"] as const).filter(kind => includes[kind] !== undefined);
  return { file, compiler, engines, units };
}

type Includes = Readonly<Record<keyof typeof ENGINE_SOURCES, readonly string[] | undefined>>;

async function unitsOf(build: RunnerBuild, includes: Includes): Promise<readonly CompileUnit[]> {
  const folder = join(build.sources, "runner");
  const headers = await filesOf(folder, /\.h$/);
  const kinds = Object.keys(ENGINE_SOURCES) as (keyof typeof ENGINE_SOURCES)[];
  const base = ["-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror", `-I${folder}`];
  const known = kinds.flatMap(kind => (includes[kind] === undefined ? [] : [`-DMMTRT_WITH_${kind.toUpperCase()}`]));
  const units: CompileUnit[] = [];
  for (const source of await filesOf(folder, /\.cpp$/)) {
    const name = source.slice(build.sources.length + 1);
    const kind = kinds.find(one => name.startsWith(`runner/${ENGINE_SOURCES[one]}`));
    const folders = kind === undefined ? [] : includes[kind];
    if (folders === undefined) continue;
    const library = kind === undefined ? undefined : build[kind];
    units.push({
      name,
      source,
      flags: [...base, ...known, `-DMMTRT_VERSION="${build.version}"`, ...folders.flatMap(one => ["-isystem", one])],
      inputs: [source, ...headers, ...(library === undefined ? [] : [library.file])],
    });
  }
  return units;
}

/** The folder of cuda_runtime_api.h: CUDA_HOME's, or beside nvcc; undefined where there is none. */
async function cudaHeaders(env: ToolEnvironment): Promise<string | undefined> {
  const nvcc = await which("nvcc", env.PATH ?? "");
  const roots = [env.CUDA_HOME, env.CUDA_PATH, nvcc && dirname(dirname(nvcc)), "/usr/local/cuda"];
  for (const root of roots) {
    if (!root) continue;
    const folder = join(root, "include");
    const found = await access(join(folder, "cuda_runtime_api.h")).then(
      () => true,
      () => false,
    );
    if (found) return folder;
  }
  return undefined;
}

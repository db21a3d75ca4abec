import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeText } from "../../checkpoint/files.ts";
import { LIBRARY } from "../../formats/plugin-library.ts";
import { type CompiledUnit, type CompileUnit, compileUnits, linkLibrary } from "../../toolchain/nvcc/compile.ts";
import { findNvcc, type Nvcc } from "../../toolchain/nvcc/find.ts";
import type { ToolEnvironment } from "../../toolchain/tensorrt/request.ts";
import { generateSources } from "./generate.ts";
import type { Headers } from "./headers.ts";
import { abiHash, type PluginManifest, readManifests } from "./manifest.ts";

export interface PluginBuild {
  /** `native-plugins`: plugins/, common/, adapters/. */
  readonly sources: string;
  readonly outputDir: string;
  readonly sms: readonly number[];
  readonly tensorrt: Headers | undefined;
  readonly onnxruntime: Headers | undefined;
  readonly workers: number;
  readonly env: ToolEnvironment;
  readonly signal: AbortSignal;
  readonly onUnit?: (unit: CompiledUnit, done: number, total: number) => void;
}

export interface BuiltPlugins {
  readonly library: string;
  readonly abi: string;
  readonly nvcc: Nvcc;
  readonly plugins: readonly PluginManifest[];
  readonly units: readonly CompiledUnit[];
}

/** Checks every plugin.yaml, generates what follows from it, compiles and links. Throws PLG001 to PLG005. */
export async function buildPlugins(build: PluginBuild): Promise<BuiltPlugins> {
  const plugins = await readManifests(build.sources);
  const abi = abiHash(plugins, await abiVersion(build.sources));
  const nvcc = await findNvcc(build.env, build.signal);
  const generated = join(build.outputDir, "generated");
  await writeGenerated(generated, generateSources(plugins, abi));
  const options = { ...build, compiler: nvcc, cacheDir: join(build.outputDir, "objects") };
  const units = await compileUnits(await unitsOf(build, plugins, generated), options);
  const library = join(build.outputDir, LIBRARY);
  await linkLibrary(
    units.map(({ object }) => object),
    library,
    [...architectureFlags(build.sms), "-lpthread", "-ldl"],
    options,
  );
  return { library, abi, nvcc, plugins, units };
}

/**
 * Machine code for each, and for the newest PTX as well, which later GPUs compile when the library is loaded. SM 90's
 * code is sm_90a: the tensor-core instructions of four warps are in it alone, and its PTX serves no later GPU.
 */
export function architectureFlags(sms: readonly number[]): readonly string[] {
  const newest = Math.max(...sms);
  const gencode = (code: string): readonly string[] => ["-gencode", code];
  return sms.flatMap(sm => {
    if (sm !== 90) return gencode(`arch=compute_${sm},code=${sm === newest ? `[sm_${sm},compute_${sm}]` : `sm_${sm}`}`);
    const own = gencode("arch=compute_90a,code=sm_90a");
    return sm === newest ? [...own, ...gencode("arch=compute_90,code=compute_90")] : own;
  });
}

/** `// Code for SM 80 serves 86 and 89.` in a source. */
const SERVES = /^\/\/ Code for SM (\d+) serves (\d+)(?: and (\d+))?\.$/m;

/**
 * The SMs that a source is compiled for: GPUs run machine code of an earlier SM of their major, so one without instructions
 * or sizes of its own for the later ones needs no second copy, which would be compiled and loaded for nothing.
 */
export function smsOf(source: string, sms: readonly number[]): readonly number[] {
  const [, by, ...served] = SERVES.exec(source) ?? [];
  return sms.includes(Number(by)) ? sms.filter(sm => !served.includes(String(sm))) : sms;
}

async function abiVersion(sources: string): Promise<number> {
  const text = await readFile(join(sources, "common", "abi.h"), "utf8");
  return Number(/#define\s+MMTRT_ABI_VERSION\s+(\d+)/.exec(text)?.[1]);
}

/** Unchanged files stay as they are; a half-written one is never compiled. */
async function writeGenerated(folder: string, files: ReadonlyMap<string, string>): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const [name, text] of files) {
    const file = join(folder, name);
    if ((await readFile(file, "utf8").catch(() => undefined)) === text) continue;
    await writeText(file, text);
  }
}

async function unitsOf(
  build: PluginBuild,
  plugins: readonly PluginManifest[],
  generated: string,
): Promise<readonly CompileUnit[]> {
  const common = join(build.sources, "common");
  const commonHeaders = await filesOf(common, /\.(?:h|cuh)$/);
  const base = ["-std=c++17", "-O3", "-Xcompiler", "-fPIC,-fvisibility=hidden,-Wall", `-I${common}`, `-I${generated}`];
  const unit = (name: string, source: string, flags: readonly string[], headers: readonly string[]): CompileUnit => ({
    name,
    source,
    flags: [...base, ...flags],
    inputs: [source, ...commonHeaders, ...headers],
  });
  const kernels = plugins.map(async ({ id }) => {
    const folder = join(build.sources, "plugins", id);
    const headers = [...(await filesOf(folder, /\.(?:h|cuh)$/)), join(generated, `${id}.gen.h`)];
    const sources = await filesOf(folder, /\.cu$/);
    return Promise.all(
      sources.map(async source => {
        const sms = smsOf(await readFile(source, "utf8"), build.sms);
        return unit(source.slice(build.sources.length + 1), source, architectureFlags(sms), headers);
      }),
    );
  });
  // Kernels that are no plugins; the native runner calls them.
  const others = (await filesOf(common, /\.cu$/)).map(source =>
    unit(source.slice(build.sources.length + 1), source, architectureFlags(build.sms), []),
  );
  const host = (await filesOf(common, /\.cpp$/)).map(source =>
    unit(source.slice(build.sources.length + 1), source, [], []),
  );
  const tables = unit(
    "plugins.gen.cpp",
    join(generated, "plugins.gen.cpp"),
    [],
    plugins.map(({ id }) => join(generated, `${id}.gen.h`)),
  );
  return [...(await Promise.all(kernels)).flat(), ...others, ...host, tables, ...adapters(build, unit)];
}

function adapters(
  { sources, tensorrt, onnxruntime }: PluginBuild,
  unit: (name: string, source: string, flags: readonly string[], headers: readonly string[]) => CompileUnit,
): readonly CompileUnit[] {
  const shared = ["guard.h", "call.h"];
  return [
    { file: "tensorrt.cpp", headers: tensorrt, own: [] },
    { file: "onnxruntime.cpp", headers: onnxruntime, own: ["onnxruntime_kernel.h", "stream_state.h"] },
  ].flatMap(({ file, headers, own }) =>
    headers === undefined
      ? []
      : [
          unit(
            `adapters/${file}`,
            join(sources, "adapters", file),
            ["-isystem", headers.folder],
            [...[...shared, ...own].map(name => join(sources, "adapters", name)), headers.file],
          ),
        ],
  );
}

export async function filesOf(folder: string, pattern: RegExp): Promise<readonly string[]> {
  return (await readdir(folder))
    .filter(name => pattern.test(name))
    .sort()
    .map(name => join(folder, name));
}

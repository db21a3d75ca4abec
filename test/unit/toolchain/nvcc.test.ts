import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { architectureFlags, buildPlugins, type PluginBuild, smsOf } from "../../../src/cli/plugins/build.ts";
import { onnxruntimeHeaders, tensorrtHeaders } from "../../../src/cli/plugins/headers.ts";
import { pluginSources } from "../../../src/cli/plugins/manifest.ts";
import { MmtrtError, type Problem } from "../../../src/diagnostics/index.ts";
import { findNvcc } from "../../../src/toolchain/nvcc/find.ts";
import { compileProblems } from "../../../src/toolchain/nvcc/messages.ts";
import { tempFolder } from "../../support/temp-folder.ts";

const temporary = (): string => tempFolder("nvcc");

/** A stand-in for nvcc: logs its arguments, and writes them to the file after -o; `script` runs before that. */
function standIn(script = ""): {
  readonly dir: string;
  readonly env: Record<string, string>;
  calls(): readonly string[];
} {
  const dir = temporary();
  const log = join(dir, "calls");
  const lines = [
    "#!/bin/sh",
    'case "$1" in --version) echo "Cuda compilation tools, release 13.0, V13.0.88"; exit 0;; esac',
    `echo "$*" >> '${log}'`,
    script,
    'for word; do last=$word; done; echo "$*" > "$last"',
  ];
  writeFileSync(join(dir, "nvcc"), `${lines.join("\n")}\n`);
  chmodSync(join(dir, "nvcc"), 0o755);
  const calls = (): readonly string[] => readFileSync(log, "utf8").trim().split("\n");
  return { dir, env: { PATH: `${dir}:/bin:/usr/bin` }, calls };
}

function request(env: Record<string, string>, outputDir = temporary(), rest: Partial<PluginBuild> = {}): PluginBuild {
  const none = { tensorrt: undefined, onnxruntime: undefined };
  const { signal } = new AbortController();
  return { sources: pluginSources(), outputDir, sms: [80, 90], ...none, workers: 2, env, signal, ...rest };
}

const problemsOf = (work: Promise<unknown>): Promise<readonly Problem[]> =>
  work.then(
    () => [],
    (error: unknown) => {
      if (!(error instanceof MmtrtError)) throw error;
      return error.problems;
    },
  );

describe("building the plugin library", () => {
  it("compiles each source once and links the objects; a second build compiles nothing", async () => {
    const nvcc = standIn();
    const outputDir = temporary();
    const seen: string[] = [];
    const first = await buildPlugins(request(nvcc.env, outputDir, { onUnit: unit => seen.push(unit.name) }));
    expect(first.units.every(({ cached }) => !cached)).toBe(true);
    expect([...seen].sort()).toEqual(first.units.map(({ name }) => name).sort());
    const kernel = nvcc.calls().find(call => call.includes("weightOnlyMatmul/kernel.cu"));
    expect(kernel).toMatch(/-gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a /);
    expect(nvcc.calls().at(-1)).toMatch(/^-shared /);
    const before = nvcc.calls().length;
    const second = await buildPlugins(request(nvcc.env, outputDir));
    expect(second.units.every(({ cached }) => cached)).toBe(true);
    expect(second.abi).toBe(first.abi);
    expect(nvcc.calls()).toHaveLength(before + 1);
    expect(readdirSync(join(outputDir, "objects")).filter(name => name.includes("partial"))).toEqual([]);
  });

  it("compiles again what another architecture, or an adapter's header, changes, and nothing else", async () => {
    const nvcc = standIn();
    const outputDir = temporary();
    const headers = { folder: outputDir, version: "10.16.0", file: join(outputDir, "NvInferVersion.h") };
    writeFileSync(headers.file, "// 10.16");
    await buildPlugins(request(nvcc.env, outputDir, { tensorrt: headers }));
    writeFileSync(headers.file, "// 11.1");
    const adapter = await buildPlugins(request(nvcc.env, outputDir, { tensorrt: headers }));
    expect(adapter.units.filter(({ cached }) => !cached).map(({ name }) => name)).toEqual(["adapters/tensorrt.cpp"]);
    const other = await buildPlugins(request(nvcc.env, outputDir, { tensorrt: headers, sms: [120] }));
    expect(other.units.filter(({ cached }) => !cached).every(({ name }) => name.endsWith(".cu"))).toBe(true);
  });

  it("tells the errors of all sources, at their lines, and leaves no library", async () => {
    const nvcc = standIn(
      'case "$*" in *rmsNorm/kernel.cu*) echo "rmsNorm/kernel.cu(19): error: expected a \\";\\"" >&2; exit 2;; *decodeAttention/kernel.cu*) echo "ptxas fatal   : (C7600) Register allocation failed"; exit 255;; esac',
    );
    const outputDir = temporary();
    const problems = await problemsOf(buildPlugins(request(nvcc.env, outputDir)));
    expect(problems.map(({ code, at, what }) => [code, at.split("/").slice(-2).join("/"), what])).toEqual(
      expect.arrayContaining([
        ["PLG003", "rmsNorm/kernel.cu:19", 'expected a ";"'],
        ["PLG003", "decodeAttention/kernel.cu", "(C7600) Register allocation failed"],
      ]),
    );
    expect(problems).toHaveLength(2);
    expect(readdirSync(outputDir)).not.toContain("libmmtrt_plugins.so");
  });

  it("stops its compilers when it is cancelled", async () => {
    const controller = new AbortController();
    const nvcc = standIn("sleep 60");
    const work = buildPlugins(request(nvcc.env, temporary(), { signal: controller.signal }));
    const stopped = expect(work).rejects.toThrow("stop");
    await vi.waitFor(() => nvcc.calls(), { timeout: 20_000 });
    controller.abort(new Error("stop"));
    await stopped;
  });

  it("says which package lacks when there is no nvcc", async () => {
    expect(await problemsOf(findNvcc({ PATH: temporary() }))).toMatchObject([{ code: "PLG004" }]);
  });
});

describe("compiler messages", () => {
  it("of an architecture that nvcc does not know name the flag", () => {
    const lines = ["nvcc fatal   : Unsupported gpu architecture 'compute_120'"];
    expect(compileProblems(lines, "kernel.cu", "nvcc …")).toMatchObject([{ code: "PLG005", at: "--sm" }]);
  });

  it("of the host compiler and of nvcc come with file and line, each once", () => {
    const lines = [
      "common/check.cpp:19:7: error: 'x' was not declared in this scope",
      "common/check.cpp:19:7: error: 'x' was not declared in this scope",
      'device.cuh(12): error: identifier "half" is undefined',
      "1 error detected in the compilation",
    ];
    const problems = compileProblems(lines, "common/check.cpp", "nvcc …");
    expect(problems.map(({ at }) => at)).toEqual(["common/check.cpp:19", "device.cuh:12"]);
  });

  it("of no known form are told as they are", () => {
    expect(compileProblems(["Killed", ""], "kernel.cu", "nvcc …")).toMatchObject([{ at: "kernel.cu", what: "Killed" }]);
  });
});

describe("headers", () => {
  const withFile = (name: string, text: string): string => {
    const root = temporary();
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
    return root;
  };

  it("of TensorRT are found below the root, with the version behind other macros", async () => {
    const text =
      "#define TRT_MAJOR_ENTERPRISE 10\n#define NV_TENSORRT_MAJOR TRT_MAJOR_ENTERPRISE\n#define NV_TENSORRT_MINOR 16\n#define NV_TENSORRT_PATCH 1\n";
    const root = withFile("include/NvInferVersion.h", text);
    expect(await tensorrtHeaders(root, "--tensorrt_root")).toMatchObject({
      version: "10.16.1",
      folder: join(root, "include"),
    });
  });

  it("that are missing or too old are refused", async () => {
    const old = withFile(
      "NvInferVersion.h",
      "#define NV_TENSORRT_MAJOR 8\n#define NV_TENSORRT_MINOR 6\n#define NV_TENSORRT_PATCH 1\n",
    );
    expect(await problemsOf(tensorrtHeaders(old, "--tensorrt_root"))).toMatchObject([{ code: "PLG007" }]);
    expect(await problemsOf(tensorrtHeaders(temporary(), "--tensorrt_root"))).toMatchObject([{ code: "PLG006" }]);
    const runtime = withFile("onnxruntime_c_api.h", "#define ORT_API_VERSION 19\n");
    expect(await problemsOf(onnxruntimeHeaders(runtime, "--onnxruntime_root"))).toMatchObject([{ code: "PLG007" }]);
  });
});

it("PTX is made for the newest architecture alone", () => {
  expect(architectureFlags([120, 80])).toEqual([
    ...["-gencode", "arch=compute_120,code=[sm_120,compute_120]"],
    ...["-gencode", "arch=compute_80,code=sm_80"],
  ]);
});

it("Hopper's own instructions are compiled for Hopper, and later GPUs get PTX without them", () => {
  expect(architectureFlags([90])).toEqual([
    ...["-gencode", "arch=compute_90a,code=sm_90a"],
    ...["-gencode", "arch=compute_90,code=compute_90"],
  ]);
  expect(architectureFlags([90, 120])[1]).toBe("arch=compute_90a,code=sm_90a");
});

describe("sources whose code for one SM serves others", () => {
  const SMS = [80, 86, 89, 90, 120];

  it("are compiled once for those, as long as that SM is asked for too", () => {
    const source = "// What it does.\n// Code for SM 80 serves 86 and 89.\n#include <x>\n";
    expect(smsOf(source, SMS)).toEqual([80, 90, 120]);
    expect(smsOf(source, [86, 89])).toEqual([86, 89]);
    expect(smsOf("// Code for SM 86 serves 89.\n", SMS)).toEqual([80, 86, 90, 120]);
    expect(smsOf("// Code for SM 86 serves 89.\n", [80, 89])).toEqual([80, 89]);
    expect(smsOf("__global__ void f();\n", SMS)).toEqual(SMS);
  });

  it("have no branch of their own between them, in no header that they include", () => {
    const folder = join(pluginSources(), "plugins");
    const units = readdirSync(folder).flatMap(id =>
      readdirSync(join(folder, id)).flatMap(name => (name.endsWith(".cu") ? [join(folder, id, name)] : [])),
    );
    for (const unit of units) {
      const text = withHeaders(unit, new Set());
      const kept = smsOf(text, SMS);
      // Sizes for 100 KB of shared memory, which SM 86 and 89 have; instructions that begin with 89.
      if (text.includes("kSMALL")) expect(kept, unit).toContain(86);
      if (/cuda_fp8\.h|__CUDA_ARCH__ (?:>=|<) 890/.test(text)) expect(kept, unit).toContain(89);
      for (const [, arch] of text.matchAll(/__CUDA_ARCH__ (?:>=|<|==|!=|>|<=) (\d+)/g))
        expect([890, 900], unit).toContain(Number(arch));
    }
    expect(units.length).toBeGreaterThan(20);
  });
});

/** A source and every header of ours that it includes. */
function withHeaders(file: string, seen: Set<string>): string {
  if (seen.has(file)) return "";
  seen.add(file);
  const text = readFileSync(file, "utf8");
  const folders = [dirname(file), join(pluginSources(), "common")];
  const included = [...text.matchAll(/#include "([^"]+)"/g)].flatMap(([, name]) =>
    folders.map(folder => join(folder, name as string)).filter(path => existsSync(path)),
  );
  return [text, ...included.map(path => withHeaders(path, seen))].join("\n");
}

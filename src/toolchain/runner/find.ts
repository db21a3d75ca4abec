import { access, constants } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fail } from "../../diagnostics/index.ts";

/** What `mmtrt plugins build` calls the runner, beside the plugin library. */
export const RUNNER = "mmtrt-runner";
const DEFAULT_DIR = ".mmtrt/plugins";

/** The runner: as given, beside the plugin library, or where `plugins build` puts it. Throws RUN055. */
export async function findRunner(given: string | undefined, plugins: string | undefined): Promise<string> {
  const beside = plugins === undefined ? [] : [join(dirname(plugins), RUNNER)];
  const places = given === undefined ? [...beside, join(DEFAULT_DIR, RUNNER)] : [given];
  for (const place of places) if (await isExecutable(place)) return place;
  return fail({
    code: "RUN055",
    what: `no runner is at ${places.join(" or ")}`,
    at: given === undefined ? "--device cuda" : "--runner",
    why: "engines on a device are run by a program that is compiled for the machine",
    fix: "mmtrt plugins build, or --runner FILE",
  });
}

/** Where ONNX Runtime's library may be, for a dynamic loader to try in order; on the CPU the onnxruntime-node package's first. */
export function onnxruntimeLibraries(device: "cpu" | "cuda"): readonly string[] {
  const names = ["libonnxruntime.so.1", "libonnxruntime.so"];
  if (device === "cuda") return names;
  const packaged = createRequire(import.meta.url).resolve("onnxruntime-node/package.json");
  const below = join(dirname(packaged), "bin", "napi-v6", process.platform, process.arch, "libonnxruntime.so.1");
  return [below, ...names];
}

/** TensorRT's, by the release whose engines they run. */
export function tensorrtLibraries(backend: "tensorrt" | "tensorrt_rtx"): readonly string[] {
  if (backend === "tensorrt_rtx") return ["libtensorrt_rtx.so.1", "libtensorrt_rtx.so"];
  return ["libnvinfer.so.11", "libnvinfer.so.10", "libnvinfer.so"];
}

/** CUDA's runtime: the newest first, which older code runs with as well. */
export const CUDA_RUNTIMES: readonly string[] = ["libcudart.so.13", "libcudart.so.12", "libcudart.so"];

/** What ranks on GPUs exchange their sums by. */
export const NCCL_LIBRARIES: readonly string[] = ["libnccl.so.2", "libnccl.so"];

async function isExecutable(file: string): Promise<boolean> {
  return access(file, constants.X_OK).then(
    () => true,
    () => false,
  );
}

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fail } from "../../diagnostics/index.ts";

export interface Headers {
  /** For -isystem. */
  readonly folder: string;
  /** TensorRT `10.16.1`, or ONNX Runtime's API version `29`. */
  readonly version: string;
  /** The file that the version was read from; other headers of a version are the same. */
  readonly file: string;
}

interface Library {
  readonly name: string;
  readonly option: "tensorrt_root" | "onnxruntime_root";
  readonly file: string;
  /** Folders below a root that may hold the headers. */
  readonly below: readonly string[];
  readonly system: readonly string[];
  version(text: string): string | undefined;
}

const TENSORRT: Library = {
  name: "TensorRT",
  option: "tensorrt_root",
  file: "NvInferVersion.h",
  below: ["include", "", "include/x86_64-linux-gnu", "include/aarch64-linux-gnu"],
  system: [
    "/usr/include/x86_64-linux-gnu",
    "/usr/include/aarch64-linux-gnu",
    "/usr/include",
    "/usr/local/tensorrt/include",
  ],
  version: tensorrtVersion,
};

const ONNXRUNTIME: Library = {
  name: "ONNX Runtime",
  option: "onnxruntime_root",
  file: "onnxruntime_c_api.h",
  below: ["include", "", "include/onnxruntime", "include/onnxruntime/core/session"],
  system: ["/usr/include/onnxruntime", "/usr/local/include/onnxruntime", "/usr/include", "/usr/local/include"],
  version: text => /#define\s+ORT_API_VERSION\s+(\d+)/.exec(text)?.[1],
};

/** TensorRT's headers: in `root`, or else where packages put them. Throws PLG006 when `root` has none, PLG007 when they are too old. */
export async function tensorrtHeaders(root: string | undefined, origin: string): Promise<Headers | undefined> {
  const found = await findHeaders(TENSORRT, root, origin);
  if (found !== undefined && Number.parseInt(found.version, 10) < 10)
    fail({
      code: "PLG007",
      at: root === undefined ? found.file : origin,
      what: `TensorRT ${found.version}; the plugins need 10.0 or later`,
      why: "they are written against IPluginV3, which TensorRT 10 brought",
      fix: "give the root of a newer TensorRT with --tensorrt_root",
    });
  return found;
}

/** The header of ONNX Runtime's C API, likewise. */
export async function onnxruntimeHeaders(root: string | undefined, origin: string): Promise<Headers | undefined> {
  const found = await findHeaders(ONNXRUNTIME, root, origin);
  if (found !== undefined && Number(found.version) < 20)
    fail({
      code: "PLG007",
      at: root === undefined ? found.file : origin,
      what: `ONNX Runtime's C API version ${found.version}; the custom ops need 20 or later`,
      why: "they take INT4 weights and the stream from the runtime",
      fix: "give the root of ONNX Runtime 1.20 or later with --onnxruntime_root",
    });
  return found;
}

async function findHeaders(library: Library, root: string | undefined, origin: string): Promise<Headers | undefined> {
  const folders = root === undefined ? library.system : library.below.map(below => join(root, below));
  for (const folder of folders) {
    const file = join(folder, library.file);
    const text = await readFile(file, "utf8").catch(() => undefined);
    const version = text === undefined ? undefined : library.version(text);
    if (version !== undefined) return { folder, version, file };
  }
  if (root === undefined) return undefined;
  return fail({
    code: "PLG006",
    at: origin,
    what: `no ${library.file} in ${folders.join(", ")}`,
    why: `the adapter to ${library.name} is compiled against its headers, which the Python packages do not bring`,
    fix: `give the folder above ${library.name}'s include folder, or leave --${library.option} out for a library without that adapter`,
  });
}

/** `NV_TENSORRT_MAJOR` is a number, or since 10.13 the name of another macro that is one. */
function tensorrtVersion(text: string): string | undefined {
  const macro = (name: string): string | undefined => new RegExp(`#define\\s+${name}\\s+(\\w+)`).exec(text)?.[1];
  const number = (name: string): string | undefined => {
    const value = macro(name);
    return value === undefined || /^\d+$/.test(value) ? value : macro(value);
  };
  const parts = ["NV_TENSORRT_MAJOR", "NV_TENSORRT_MINOR", "NV_TENSORRT_PATCH"].map(number);
  return parts.every(part => part !== undefined && /^\d+$/.test(part)) ? parts.join(".") : undefined;
}

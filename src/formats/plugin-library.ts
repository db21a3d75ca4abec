import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";

/** What `mmtrt plugins build` writes. */
export const LIBRARY = "libmmtrt_plugins.so";

/** A library as its bytes tell, without loading it. */
export interface PluginLibrary {
  readonly file: string;
  /** Of its content. */
  readonly sha256: string;
  /** What callers rely on; null for a library that is not mmtrt's. */
  readonly abi: string | null;
  /** mmtrt's operations that it has kernels for, as Name/version. */
  readonly ops: readonly string[];
  /** Who can call them besides users of its C interface. */
  readonly adapters: readonly ("tensorrt" | "onnxruntime")[];
}

/** What `mmtrt plugins build` puts into the library before the hash, and before the list of its operations. */
export const ABI_MARK = "mmtrt-plugin-abi:";
export const OPS_MARK = "mmtrt-plugin-ops:";
const ABI = /mmtrt-plugin-abi:([0-9a-f]{64})/;
const OPS = /mmtrt-plugin-ops:((?:[A-Za-z0-9]{1,64}\/\d{1,4};){1,256})\./;
/** Entry points by which TensorRT and ONNX Runtime find the operations. */
const ENTRIES = { tensorrt: "getCreators\0", onnxruntime: "RegisterCustomOps\0" } as const;
/** No mark is longer: 256 operations with names of 64 characters. */
const OVERLAP = 32 * 1024;

/** Reads a library once, from start to end. Throws what reading throws. */
export async function readPluginLibrary(file: string): Promise<PluginLibrary> {
  const hash = createHash("sha256");
  let abi: string | null = null;
  let ops: readonly string[] = [];
  const adapters = new Set<PluginLibrary["adapters"][number]>();
  let rest = "";
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) {
    hash.update(chunk as Buffer);
    // latin1 keeps each byte one character; a mark may lie across two chunks.
    const text = rest + (chunk as Buffer).toString("latin1");
    abi ??= ABI.exec(text)?.[1] ?? null;
    if (ops.length === 0) ops = OPS.exec(text)?.[1]?.split(";").slice(0, -1) ?? [];
    for (const name of ["tensorrt", "onnxruntime"] as const) if (text.includes(ENTRIES[name])) adapters.add(name);
    rest = text.slice(-OVERLAP);
  }
  return { file, sha256: hash.digest("hex"), abi, ops, adapters: [...adapters] };
}

/** Of the first library that is mmtrt's; null when none is. Throws what reading throws. */
export async function pluginAbiOf(libraries: readonly string[]): Promise<string | null> {
  for (const library of libraries) {
    const { abi } = await readPluginLibrary(library);
    if (abi !== null) return abi;
  }
  return null;
}

/** The libraries that a manifest's options name. */
export function pluginLibraries(options: Readonly<Record<string, unknown>>): readonly string[] {
  const { plugins } = options;
  return Array.isArray(plugins) ? plugins.filter(file => typeof file === "string") : [];
}

import { open } from "node:fs/promises";
import type { TensorRTBackend } from "./request.ts";

/** The first bytes of an engine: who built it. Readable without TensorRT and without a GPU. */
export interface PlanHeader {
  readonly library: TensorRTBackend;
  /** "1.7.1.116" or "10.13.3.9": the library's version, four numbers. */
  readonly version: string;
  /** Bytes of the file. */
  readonly bytes: number;
}

/** tag[4], u32 format 0, …, u64 size at 16, then one byte each: major, minor, patch, build at 24 (what trtexec --getPlanVersionOnly prints). */
const HEADER_BYTES = 28;
const TAGS: Readonly<Record<string, TensorRTBackend>> = { ftrt: "tensorrt", vtrt: "tensorrt_rtx" };

/** Undefined when the file is not an engine, of a format before TensorRT 8.6, or cut short. */
export async function readPlanHeader(file: string): Promise<PlanHeader | undefined> {
  const handle = await open(file, "r");
  try {
    const { size } = await handle.stat();
    const bytes = Buffer.alloc(HEADER_BYTES);
    const { bytesRead } = await handle.read(bytes, 0, HEADER_BYTES, 0);
    return bytesRead < HEADER_BYTES ? undefined : decodePlanHeader(bytes, size);
  } finally {
    await handle.close();
  }
}

export function decodePlanHeader(bytes: Buffer, fileBytes: number): PlanHeader | undefined {
  const library = TAGS[bytes.toString("latin1", 0, 4)];
  if (library === undefined || bytes.length < HEADER_BYTES || bytes.readUInt32LE(4) !== 0) return undefined;
  // Only TensorRT-RTX's layout of the size was seen; there it is the whole file's.
  if (library === "tensorrt_rtx" && bytes.readBigUInt64LE(16) !== BigInt(fileBytes)) return undefined;
  return { library, version: [...bytes.subarray(24, 28)].join("."), bytes: fileBytes };
}

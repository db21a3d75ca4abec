import { type FileHandle, open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { fail } from "../../diagnostics/index.ts";
import { asProblem, sizeOfFile } from "../../formats/file.ts";
import { readJsonObject } from "../../formats/json.ts";
import type { LocalKind } from "./report.ts";

/** What lies at a path, by content where names do not tell. Errors: CKP001, CKP002, CKP061. */
export async function recognise(path: string): Promise<LocalKind> {
  try {
    if ((await stat(path)).isDirectory()) return await recogniseDirectory(path);
    // Opened without a look, a pipe waits for its writer.
    await sizeOfFile(path);
    return await recogniseFile(path);
  } catch (error) {
    throw asProblem(path, error);
  }
}

async function recogniseDirectory(path: string): Promise<LocalKind> {
  const names = await readdir(path);
  if (names.includes("mmtrt.json")) {
    const { kind } = await readJsonObject(join(path, "mmtrt.json"));
    if (kind === "engine" || kind === "checkpoint") return kind;
  }
  const isModel = names.some(name => name === "config.json" || /\.(safetensors|bin|gguf)$/.test(name));
  return isModel ? "model" : unknown(path, "a directory without mmtrt.json, config.json or weights");
}

async function recogniseFile(path: string): Promise<LocalKind> {
  const handle = await open(path, "r");
  try {
    return (await kindOfBytes(handle)) ?? unknown(path, "a file that is none of GGUF, safetensors, ONNX");
  } finally {
    await handle.close();
  }
}

const HEAD_BYTES = 9;
/** ModelProto's first field, ir_version, as a varint: every writer puts it first. */
const ONNX_START = 0x08;

async function kindOfBytes(handle: FileHandle): Promise<LocalKind | undefined> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
  const head = buffer.subarray(0, bytesRead);
  if (head.subarray(0, 4).toString("latin1") === "GGUF") return "gguf";
  // A header length, of which the upper half is 0 in any file below 4 GB of header, then JSON.
  if (bytesRead === HEAD_BYTES && head.readUInt32LE(4) === 0 && head[8] === 0x7b) return "safetensors";
  return head[0] === ONNX_START ? "onnx" : undefined;
}

function unknown(path: string, found: string): never {
  return fail({
    code: "CKP061",
    what: `${path} is ${found}`,
    at: path,
    why: "inspect recognises model directories, GGUF, safetensors and ONNX files, checkpoints and engine directories",
    fix: "give the path of one of these",
  });
}

import { fail } from "../../diagnostics/index.ts";
import { FilePool } from "../file.ts";
import { countMessages } from "./count.ts";
import { decodeModel, type OnnxModel } from "./schema.ts";

/** Protobuf's own limit on a message. */
const MAX_BYTES = 2 ** 31 - 1;
/** Nodes, attributes, weights and names of the graphs: a large decoder has 50 000; one takes two bytes of file and 400 of memory. */
const MAX_MESSAGES = 400_000;

/** Reads a whole .onnx file; external data is not touched. Errors: CKP001–CKP005 for the file, CKP060 for its contents. */
export async function readOnnx(path: string): Promise<OnnxModel> {
  const pool = new FilePool();
  try {
    const file = await pool.open(path);
    if (file.size > MAX_BYTES) fail(notOnnx(path, `it has ${file.size} bytes; at most ${MAX_BYTES} are possible`));
    const bytes = await file.read(0, file.size);
    if (countMessages(bytes, MAX_MESSAGES) > MAX_MESSAGES)
      fail(notOnnx(path, `it has more than ${MAX_MESSAGES} nodes, attributes and names`));
    return decode(path, bytes);
  } finally {
    await pool.close();
  }
}

function decode(path: string, bytes: Uint8Array): OnnxModel {
  let model: OnnxModel;
  try {
    model = decodeModel(bytes);
  } catch (error) {
    return fail(notOnnx(path, (error as Error).message));
  }
  // Other bytes can be a valid message by chance: unknown fields are skipped. A model has operators and a graph.
  if (!model.graph || model.opsetImport.length === 0) return fail(notOnnx(path, "it has no graph or no opset"));
  return model;
}

function notOnnx(path: string, reason: string): Parameters<typeof fail>[0] {
  return {
    code: "CKP060",
    what: `${path} is not a readable ONNX model: ${reason}`,
    at: path,
    why: "a graph must be decoded whole to be looked at",
    fix: "check that the file is complete and is an ONNX model",
  };
}

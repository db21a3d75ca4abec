import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import type { Problem } from "../diagnostics/index.ts";
import type { EngineDir } from "./engine-dir.ts";

/**
 * Whether the files are the ones the manifest was written for: each graph by its hash, each engine by its size (hashing
 * engines of many GB at each start would take longer than loading them). BLD006 for each that is not.
 */
export async function stampProblems(engine: EngineDir): Promise<readonly Problem[]> {
  const { llmParts, encoderParts, crossParts, visualPart } = engine;
  const parts = [...encoderParts, ...crossParts, ...llmParts, ...(visualPart ? [visualPart] : [])];
  const found = parts.map(async ({ onnx, onnx_sha256, engine, built }) => {
    const problems: Problem[] = [];
    const hash = await hashOf(onnx);
    if (hash !== onnx_sha256)
      problems.push(
        changed(onnx, `has the SHA-256 ${hash.slice(0, 12)}…, the manifest says ${onnx_sha256.slice(0, 12)}…`),
      );
    if (engine !== null && built) {
      const { size } = await stat(engine);
      if (size !== built.bytes) problems.push(changed(engine, `has ${size} bytes, the manifest says ${built.bytes}`));
    }
    return problems;
  });
  return (await Promise.all(found)).flat();
}

async function hashOf(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

function changed(file: string, seen: string): Problem {
  return {
    code: "BLD006",
    what: `${file} ${seen}`,
    at: file,
    why: "limits and profiles in the manifest are those of another file, so answers could be wrong without a word",
    fix: "build the engine directory again, or put the original file back",
  };
}

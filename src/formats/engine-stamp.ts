import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { Problem } from "../diagnostics/index.ts";
import { ENGINE_MANIFEST, type EngineDir } from "./engine-dir.ts";
import { pluginAbiOf, pluginLibraries } from "./plugin-library.ts";

/**
 * Whether the files are the ones the manifest was written for: each graph by its hash, each engine by its size (hashing
 * engines of many GB at each start would take longer than loading them), plugins by the ABI hash of their library.
 * BLD006 for each that is not.
 */
export async function stampProblems(engine: EngineDir): Promise<readonly Problem[]> {
  return [...(await pluginProblems(engine)), ...(await fileProblems(engine))];
}

/** Of the graphs and engines alone. */
export async function fileProblems(engine: EngineDir): Promise<readonly Problem[]> {
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

/** An engine calls plugins through the interface it was built with; a library of another layout reads wrong attributes. */
export async function pluginProblems({ dir, manifest }: EngineDir): Promise<readonly Problem[]> {
  const abi = manifest.target?.plugin_abi ?? null;
  if (abi === null) return [];
  const libraries = pluginLibraries(manifest.options);
  const now = await pluginAbiOf(libraries).catch((error: NodeJS.ErrnoException) => ({
    unread: error.code ?? error.message,
  }));
  if (now === abi) return [];
  const named = libraries.length === 0 ? "no library" : libraries.join(", ");
  const seen =
    typeof now === "string" ? `has ABI ${now}` : now === null ? "holds none of them" : `cannot be read (${now.unread})`;
  return [
    {
      code: "BLD006",
      what: `${dir} was built with plugins of ABI ${abi}; ${named} ${seen}`,
      at: join(dir, `${ENGINE_MANIFEST}: target.plugin_abi`),
      why: "an engine calls plugins through the interface it was built with, and another one would read wrong attributes",
      fix: `put back the library of mmtrt ${manifest.version}, or build the engine directory again`,
    },
  ];
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

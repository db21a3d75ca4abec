import { dirname } from "node:path";
import { fail } from "../../diagnostics/index.ts";
import type { FilePool } from "../../formats/file.ts";
import { type Gguf, openGgufFile } from "../../formats/gguf.ts";
import type { HfCheckpoint } from "../../tensor/index.ts";
import { readGgufLlama } from "./gguf-llama.ts";
import { ggufTokenizerFiles } from "./gguf-tokenizer.ts";

/**
 * A GGUF file as the Hugging Face checkpoint it was made from: names, row order and config translated back, the
 * tokenizer written as tokenizer.json unless `extraFiles` has one. Architecture llama only. Errors: CKP011, CKP016–CKP018.
 */
export async function openGguf(
  pool: FilePool,
  path: string,
  dir: string = dirname(path),
  extraFiles: readonly string[] = [],
): Promise<HfCheckpoint> {
  const gguf = await openGgufFile(pool, path);
  refuseForeign(gguf);
  const { config, tensors } = await readGgufLlama(gguf);
  const { files, problems } = ggufTokenizerFiles(gguf);
  return {
    dir,
    format: "gguf",
    config,
    tensors,
    extraFiles,
    generatedFiles: new Map(Object.entries(files).filter(([name]) => !extraFiles.includes(name))),
    warnings: extraFiles.includes("tokenizer.json") ? [] : problems,
    weightFiles: [path],
    changed: () => pool.changed(),
    close: () => pool.close(),
  };
}

function refuseForeign({ path, metadata }: Gguf): void {
  const architecture = metadata.get("general.architecture");
  const parts = metadata.get("split.count");
  if (architecture === "llama" && (parts === undefined || parts === 0 || parts === 1)) return;
  const split = architecture === "llama";
  fail({
    code: "CKP017",
    what: split
      ? `${path} is one of ${String(parts)} parts`
      : `general.architecture is ${JSON.stringify(architecture ?? "missing")}; readable: llama`,
    at: path,
    why: split
      ? "the tensors are spread over several GGUF files, and only whole ones are read"
      : "each architecture has its own names and row order in GGUF, and a wrong guess gives a wrong model",
    fix: split ? "join them with llama.cpp: llama-gguf-split --merge" : "convert the original Hugging Face checkpoint",
  });
}

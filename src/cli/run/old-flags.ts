import { existsSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fail } from "../../diagnostics/index.ts";
import { ENGINE_MANIFEST } from "../../formats/engine-dir.ts";
import type { RunOptions } from "../../options/tables/run.ts";

/** Parts of an engine directory that TensorRT-LLM's runner is given one by one. */
const LANGUAGE_PARTS = ["llm", "encoder", "decoder"];

/**
 * The engine directory: as given, or the one that holds the given part (`--llm_engine_dir E/llm`). Its visual part belongs
 * to it: one of another directory was built for another prompt table. Errors: RUN030.
 */
export function engineDirOf(options: RunOptions, origin: (key: string) => string): string {
  const { engine_dir: given, visual_engine_dir: visual } = options;
  const parent = dirname(resolve(given));
  const isPart = LANGUAGE_PARTS.includes(basename(resolve(given))) && !existsSync(join(given, ENGINE_MANIFEST));
  const dir = isPart && existsSync(join(parent, ENGINE_MANIFEST)) ? parent : given;
  const fits = visual === undefined || [resolve(dir), resolve(dir, "visual")].includes(resolve(visual));
  if (fits) return dir;
  return fail({
    code: "RUN030",
    what: `--visual_engine_dir ${visual} is not the visual part of ${dir}`,
    at: origin("visual_engine_dir"),
    why: "image encoder and language model are converted and built together, so that widths, tokens and limits agree",
    fix: `leave it out, or make one engine directory of both: mmtrt convert MODEL_DIR --llm_dir LLM_DIR, then mmtrt build`,
  });
}

/**
 * The files of --image. TensorRT-LLM's runner takes one text with a separator: the pictures of one prompt. A comma is
 * looked for in --image_path alone, and not where it is part of a file's name.
 */
export function pictureFiles(
  { image = [], path_sep }: RunOptions,
  origin: (key: string) => string,
): { readonly files: readonly string[]; readonly together: boolean } {
  const separator = path_sep ?? (origin("image").startsWith("--image_path") ? "," : "");
  const files = image.flatMap(text =>
    separator === "" || (path_sep === undefined && existsSync(text)) ? [text] : text.split(separator),
  );
  return { files, together: files.length > image.length };
}

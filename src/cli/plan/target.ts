import { stat } from "node:fs/promises";
import { join } from "node:path";
import { hubNameOf, parseHubName } from "../../checkpoint/hub/name.ts";
import { withProcessorConfig } from "../../checkpoint/open/image-processor.ts";
import { withLanguageConfig } from "../../checkpoint/open/language-model.ts";
import { openHf } from "../../checkpoint/open.ts";
import type { PublishedModel } from "../../checkpoint/published.ts";
import { type ConvertedCheckpoint, openCheckpoint } from "../../checkpoint/read.ts";
import { resolveDtype } from "../../checkpoint/source.ts";
import { fail, MmtrtError, type Problem } from "../../diagnostics/index.ts";
import { type JsonObject, readJsonObject } from "../../formats/json.ts";
import { readModel } from "../../models/registry.ts";
import type { PlanOptions } from "../../options/tables/plan.ts";
import type { FloatDtype } from "../../tensor/index.ts";
import { type HubContext, hubConfig, localPaths } from "../hub.ts";
import { recognise } from "../inspect/recognise.ts";

type Config = Readonly<Record<string, unknown>>;

/** What is planned: a published model, a model by its config.json, or a converted checkpoint (to be closed). */
export type Target =
  | { readonly kind: "published"; readonly model: PublishedModel }
  | { readonly kind: "model"; readonly dir: string; readonly config: Config; readonly dtype: FloatDtype | "auto" }
  | { readonly kind: "checkpoint"; readonly checkpoint: ConvertedCheckpoint };

/** Errors: CKP057 unknown name, CKP063 neither or both, HUB001… for a model of the Hub, CKP001…CKP024 and CKP050 from files, SPC…. */
export async function targetOf(options: PlanOptions, context: HubContext): Promise<Target> {
  const { paths } = await localPaths(context, [{ key: "llm_dir", value: options.llm_dir, configOnly: true }]);
  const [llmDir] = paths;
  const target = await modelTarget(options, context, llmDir);
  if (llmDir === undefined || target.kind === "model") return target;
  if (target.kind === "published") {
    const { name: dir, config } = target.model;
    return { ...target, model: { ...target.model, config: await withLanguageConfig({ dir, config }, llmDir) } };
  }
  await target.checkpoint.close();
  const what = `--llm_dir is given, and ${target.checkpoint.dir} is a converted checkpoint`;
  return nothing(what, context.origin("llm_dir"), "leave out --llm_dir; convert --llm_dir makes another checkpoint");
}

async function modelTarget(options: PlanOptions, context: HubContext, llmDir: string | undefined): Promise<Target> {
  const { dir, model, revision } = options;
  const origin = (key: string): string => context.origin(key);
  if (dir === undefined && model !== undefined) {
    const { findPublished } = await import("../../checkpoint/published.ts");
    return { kind: "published", model: await findPublished(model, origin("model")) };
  }
  if (dir === undefined || model !== undefined) {
    return nothing(
      dir === undefined ? "no model is named" : `both ${dir} and --model ${model} are given`,
      dir === undefined ? "DIR, --model" : origin("model"),
      "mmtrt plan DIR, mmtrt plan --model NAME, or mmtrt plan --list for the names",
    );
  }
  if (parseHubName(dir) !== undefined && (await missing(dir))) {
    const config = await hubConfig(context, { key: "dir", value: dir, revision });
    if (config !== undefined)
      return { kind: "model", dir, config: await joined({ dir, config }, llmDir), dtype: "auto" };
  }
  if (revision !== undefined) await hubNameOf(dir, revision, origin, "dir");
  if (await missing(dir)) {
    const fix = `mmtrt plan --model ${dir}, if that is meant as a published model's name`;
    return nothing(`there is no directory or file ${dir}`, origin("dir"), fix);
  }
  const kind = await recognise(dir);
  if (kind === "checkpoint") return { kind, checkpoint: await openCheckpoint(dir) };
  if (kind === "engine" || kind === "onnx" || kind === "safetensors") {
    const found = kind === "engine" ? "an engine directory" : `${kind === "onnx" ? "an ONNX" : "a safetensors"} file`;
    return nothing(`${dir} is ${found}`, origin("dir"), `mmtrt inspect ${dir}`);
  }
  return { kind: "model", dir, ...(await sourceAt(dir, options.vision_tower_dir, llmDir)) };
}

/** With weights their dtype counts; a directory with config.json alone is enough. */
async function sourceAt(
  dir: string,
  visionTowerDir: string | undefined,
  llmDir: string | undefined,
): Promise<{ readonly config: Config; readonly dtype: FloatDtype | "auto" }> {
  try {
    const source = await openHf(dir, { visionTowerDir, llmDir });
    try {
      return { config: source.config, dtype: resolveDtype("auto", source, readModel(source.config).spec) };
    } finally {
      await source.close();
    }
  } catch (error) {
    const noWeights = error instanceof MmtrtError && error.problems.every(({ code }) => code === "CKP019");
    if (!noWeights) throw error;
    const config = await readJsonObject(join(dir, "config.json"));
    return { config: await withProcessorConfig(dir, await joined({ dir, config }, llmDir)), dtype: "auto" };
  }
}

function joined(
  model: { readonly dir: string; readonly config: JsonObject },
  llmDir: string | undefined,
): Promise<Config> {
  return llmDir === undefined ? Promise.resolve(model.config) : withLanguageConfig(model, llmDir);
}

function missing(path: string): Promise<boolean> {
  return stat(path).then(
    () => false,
    (error: NodeJS.ErrnoException) => error.code === "ENOENT",
  );
}

function nothing(what: string, at: string, fix: Problem["fix"]): never {
  return fail({ code: "CKP063", what, at, why: "a plan is made of one model's sizes", fix });
}

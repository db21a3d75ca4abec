import { stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fail } from "../../diagnostics/index.ts";
import type { FilePool } from "../../formats/file.ts";
import { type JsonObject, readJsonObject } from "../../formats/json.ts";
import type { OpenedModel, StoredTensor } from "../../tensor/index.ts";
import { extraFilesOf } from "./extra-files.ts";
import { objectAt, openPart } from "./folders.ts";

/** LLaVA's own training code names the vision tower instead of storing it (`mm_vision_tower`). */
function namesVisionTower(config: JsonObject): boolean {
  return typeof config.mm_vision_tower === "string" && config.vision_tower_cfg === undefined;
}

/**
 * Adds the vision tower of another directory: its config as `vision_tower_cfg`, its tensors as
 * `vision_tower.vision_model.…` (unless the model stores its own, fine-tuned ones), its image processor.
 * `given` is --vision_tower_dir; without it `mm_vision_tower` may be a directory. Errors: CKP059, CKP019….
 */
export async function withVisionTower(
  pool: FilePool,
  model: OpenedModel,
  given: string | undefined,
): Promise<OpenedModel> {
  if (!namesVisionTower(model.config as JsonObject)) {
    if (given === undefined) return model;
    return fail({
      code: "CKP059",
      what: `--vision_tower_dir is given, but ${model.dir} names no vision tower of its own (mm_vision_tower)`,
      at: "--vision_tower_dir",
      why: "other layouts store the vision tower with the model, and two of them cannot both be right",
      fix: "leave out --vision_tower_dir",
    });
  }
  const named = model.config.mm_vision_tower as string;
  const dir = given ?? (await localDir(model.dir, named)) ?? missing(model.dir, named);
  const tower = await openPart(pool, dir);
  const own = [...model.tensors.keys()].some(name => name.startsWith("model.vision_tower."));
  const tensors = new Map(model.tensors);
  if (!own) for (const tensor of visionTensors(tower.weights.tensors)) tensors.set(tensor.name, tensor);
  const processors = extraFilesOf(tower.names).filter(name => /processor_config\.json$/.test(name));
  return {
    ...model,
    config: { ...model.config, vision_tower_cfg: visionConfig(tower.config) },
    tensors,
    generatedFiles: new Map([...model.generatedFiles, ...(await processorFiles(dir, processors))]),
    warnings: [...model.warnings, ...tower.weights.warnings],
    weightFiles: [...model.weightFiles, ...(own ? [] : tower.weights.files)],
  };
}

/** Of a whole CLIP or SigLIP the image half; the text half has no part in LLaVA. */
function visionConfig(config: JsonObject): JsonObject {
  if (config.vision_config === undefined) return config;
  const nested = objectAt(config, "vision_config");
  return { ...nested, model_type: nested.model_type ?? `${String(config.model_type)}_vision_model` };
}

function visionTensors(tensors: ReadonlyMap<string, StoredTensor>): StoredTensor[] {
  const pattern = /^(?:vision_model\.)?(embeddings|encoder|pre_layrnorm|post_layernorm|head)\./;
  return [...tensors.values()]
    .filter(({ name }) => pattern.test(name))
    .map(tensor => ({ ...tensor, name: tensor.name.replace(pattern, "vision_tower.vision_model.$1.") }));
}

async function processorFiles(dir: string, names: readonly string[]): Promise<[string, string][]> {
  return Promise.all(
    names.map(
      async name => [name, JSON.stringify(await readJsonObject(join(dir, name)), undefined, 2)] as [string, string],
    ),
  );
}

/** A path in config.json is taken from the model's directory; a Hub name is no directory there. */
async function localDir(modelDir: string, named: string): Promise<string | undefined> {
  const dir = resolve(modelDir, named);
  return stat(dir).then(
    info => (info.isDirectory() ? dir : undefined),
    () => undefined,
  );
}

function missing(modelDir: string, named: string): never {
  return fail({
    code: "CKP059",
    what: `the vision tower ${JSON.stringify(named.slice(0, 200))} is not stored with the model`,
    at: `${modelDir}/config.json: mm_vision_tower`,
    why: "LLaVA's own checkpoints name the image encoder that they were trained with, and its weights are needed too",
    fix: `--vision_tower_dir ${named.slice(0, 200)}, where that is its name on the Hub, or its directory`,
  });
}

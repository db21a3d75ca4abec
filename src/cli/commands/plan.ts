import { existsSync } from "node:fs";
import type { ImageBudget } from "../../build/image-budget.ts";
import type { BuildPlan } from "../../build/plan.ts";
import { planShapes } from "../../build/plan-build.ts";
import type { Adjustment } from "../../build/settings.ts";
import { NO_QUANTIZATION } from "../../checkpoint/quantization-options.ts";
import type { ConvertedCheckpoint } from "../../checkpoint/read.ts";
import { parameterCount } from "../../checkpoint/stored-tensors.ts";
import { weightlessCheckpoint } from "../../checkpoint/weightless.ts";
import { type Problem, throwIfAny } from "../../diagnostics/index.ts";
import { visualTokensOf } from "../../models/parts/visual-tokens.ts";
import type { OptionValue } from "../../options/define.ts";
import type { BuildOptions } from "../../options/tables/build.ts";
import { type PlanOptions, planOptions } from "../../options/tables/plan.ts";
import { section } from "../build-view.ts";
import { defineCommand } from "../command.ts";
import { recognise } from "../inspect/recognise.ts";
import { budgetFor, budgetText, engineBudget, planLimits, readSizes } from "../plan/images.ts";
import { type Chosen, withRecommended } from "../plan/recommended.ts";
import { type Target, targetOf } from "../plan/target.ts";
import { listText, modelPlanText, nextCommands, type PlannedModel } from "../plan/view.ts";
import type { Ui } from "../ui.ts";
import { VERSION } from "../version.ts";

export const plan = defineCommand({
  name: "plan",
  options: planOptions,
  async run({ options, origin, given, ui, signal }) {
    if (options.list) return listModels(ui);
    const sizes = readSizes(options.images ?? [], origin("images"));
    if (options.dir !== undefined && sizes.length > 0 && (await isEngine(options.dir))) {
      const budget = await engineBudget(options.dir, sizes, origin("images"));
      return ui.result(budgetText(budget), { images: budget });
    }
    const target = await targetOf(options, { origin, ui, signal });
    const chosen: Chosen & { readonly adjustments?: readonly Adjustment[] } =
      target.kind === "published"
        ? withRecommended({ options, origin, given }, target.model)
        : { options, origin, given };
    const { checkpoint, warnings } = checkpointOf(target, chosen);
    try {
      if (target.kind === "checkpoint") refuseFormats(checkpoint.dir, chosen);
      const shapes = await planShapes(checkpoint, asBuild(chosen.options), {
        version: VERSION,
        origin: chosen.origin,
        given: chosen.given,
      });
      const adjusted = { ...shapes, adjustments: [...(chosen.adjustments ?? []), ...shapes.adjustments] };
      for (const warning of [...warnings, ...shapes.warnings]) ui.warn(warning);
      const { spec, dir } = checkpoint;
      const at = { name: dir, at: origin("images") };
      const rule = spec.encoderDecoder?.encoder === undefined && spec.encoderDecoder ? undefined : visualTokensOf(spec);
      const budget = sizes.length === 0 ? undefined : budgetFor(rule, sizes, planLimits(shapes), at);
      show(ui, adjusted, modelOf(target, checkpoint, chosen), budget);
      throwIfAny(shapes.problems);
    } finally {
      await checkpoint.close();
    }
  },
});

/** Something on disk that `build` wrote; anything else is targetOf's to judge. */
async function isEngine(path: string): Promise<boolean> {
  return existsSync(path) && (await recognise(path)) === "engine";
}

async function listModels(ui: Ui): Promise<void> {
  const { publishedModels } = await import("../../checkpoint/published.ts");
  const models = await publishedModels();
  const shown = models.map(({ config: _, build, why, ...facts }) => ({ ...facts, build, why }));
  ui.result(listText(models), { models: shown });
}

function checkpointOf(
  target: Target,
  { options, origin }: Chosen,
): { readonly checkpoint: ConvertedCheckpoint; readonly warnings: readonly Problem[] } {
  if (target.kind === "checkpoint") return { checkpoint: target.checkpoint, warnings: [] };
  const [name, config, stored] =
    target.kind === "published"
      ? [target.model.name, target.model.config, "auto" as const]
      : [target.dir, target.config, target.dtype];
  return weightlessCheckpoint({
    config,
    name,
    dtype: options.dtype === "auto" ? stored : options.dtype,
    parallel: {
      tpSize: options.tp_size ?? 1,
      ppSize: options.pp_size ?? 1,
      parallelEmbedding: options.use_parallel_embedding,
      embeddingShardingDim: options.embedding_sharding_dim === 1 ? 1 : 0,
      shareEmbedding: options.use_embedding_sharing,
    },
    quantization: { ...NO_QUANTIZATION, ...options },
    version: VERSION,
    origin,
  });
}

/** Options of `convert` that say what weights and cache become. */
const FORMATS = [
  ...["use_weight_only", "weight_only_precision", "per_group", "group_size", "quantize_lm_head", "smoothquant"],
  ...["per_token", "per_channel", "int8_kv_cache", "fp8_kv_cache", "qformat", "awq_block_size"],
] as const;

/** What `convert` has written has its form already. Errors: CKP063. */
function refuseFormats(dir: string, { origin, given }: Chosen): void {
  const asked = FORMATS.filter(given);
  throwIfAny(
    asked.map(key => ({
      code: "CKP063",
      what: `--${key} is given, and ${dir} is a converted checkpoint`,
      at: origin(key),
      why: "a plan of it has the element types of its files",
      fix: `leave out --${key}, or plan the model that it was converted from`,
    })),
  );
}

function asBuild(options: PlanOptions): BuildOptions {
  return {
    ...options,
    checkpoint_dir: "",
    output_dir: "",
    copy_weights: false,
    plan: true,
    report: undefined,
    force: false,
  };
}

function modelOf(target: Target, checkpoint: ConvertedCheckpoint, { options, given }: Chosen): PlannedModel {
  const published = target.kind === "published" ? target.model : undefined;
  const { dir, model, list, images, ...rest } = options;
  const values = rest as Readonly<Record<string, OptionValue | undefined>>;
  const shown = Object.entries(values).filter(([key, value]) => given(key) && value !== undefined && key !== "gpu");
  return {
    parameters: parameterCount(checkpoint),
    published,
    source: published ? (published.hub ?? published.name) : checkpoint.dir,
    converted: target.kind === "checkpoint",
    options: new Map(shown as [string, OptionValue][]),
  };
}

function show(ui: Ui, shapes: BuildPlan, model: PlannedModel, budget: ImageBudget | undefined): void {
  const { published } = model;
  const images = budget === undefined ? "" : `${section("images", budgetText(budget))}\n\n`;
  ui.result(`${images}${modelPlanText(shapes, model)}`, {
    ...shapes,
    ...(budget && { images: budget }),
    parameters: model.parameters,
    published: published && {
      name: published.name,
      hub: published.hub,
      unconfirmed: published.unconfirmed ?? [],
      why: published.why,
    },
    next: nextCommands(model),
  });
}

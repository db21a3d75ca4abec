import type { BuildPlan } from "../../build/plan.ts";
import type { PublishedModel } from "../../checkpoint/published.ts";
import type { OptionValue } from "../../options/define.ts";
import { buildOptions } from "../../options/tables/build.ts";
import { convertOptions } from "../../options/tables/convert.ts";
import { quoteCommand } from "../../toolchain/quote.ts";
import { planText, section } from "../build-view.ts";
import { shownFeatures } from "../features.ts";
import { formatTable } from "../ui.ts";

/** What is known of the model beside its plan. */
export interface PlannedModel {
  readonly parameters: number;
  readonly published: PublishedModel | undefined;
  /** Directory with the weights, or where they will be. */
  readonly source: string;
  /** It is what `convert` wrote. */
  readonly converted: boolean;
  /** Options that were given or recommended. */
  readonly options: ReadonlyMap<string, OptionValue>;
}

/** The model, the plan as `build --plan` shows it, and the commands that carry it out. */
export function modelPlanText(plan: BuildPlan, model: PlannedModel): string {
  return [section("model", modelTable(plan, model)), planText(plan), section("next", nextCommands(model).join("\n"))]
    .filter(text => text !== "")
    .join("\n\n");
}

/** `7.06 billion`, as model cards round. */
function showCount(n: number): string {
  const [size, word] = n >= 1e9 ? [1e9, " billion"] : n >= 1e6 ? [1e6, " million"] : [1, ""];
  return `${Number((n / size).toPrecision(3))}${word}`;
}

function modelTable({ model: planned }: BuildPlan, model: PlannedModel): string {
  const { published } = model;
  const lines: (readonly [string, string])[] = [
    ["architecture", planned.architecture],
    ["parameters", `${showCount(model.parameters)} (${model.parameters})`],
    [
      "visual features",
      planned.num_visual_features === 0 ? "none: it takes no images" : `${shownFeatures(planned)} an image`,
    ],
    ...(published?.hub ? [["published as", published.hub] as const] : []),
    ...(published ? [["why this build", published.why] as const] : []),
    ...(published?.unconfirmed ?? []).map(text => ["not confirmed", text] as const),
  ];
  const width = Math.max(...lines.map(([name]) => name.length));
  return lines.map(([name, text]) => `${name.padEnd(width)}  ${text}`).join("\n");
}

/** `mmtrt convert …` and `mmtrt build …` with the options of the plan, to be pasted into a shell. */
export function nextCommands({ source, converted, options }: PlannedModel): readonly string[] {
  const of = (table: object): string[] =>
    [...options].flatMap(([key, value]) => (Object.hasOwn(table, key) ? flag(key, value) : []));
  const { tp_size, pp_size, ...limits } = buildOptions;
  const checkpoint = converted ? source : "checkpoint";
  const build = ["mmtrt", "build", "--checkpoint_dir", checkpoint, "--output_dir", "engines", ...of(limits)];
  if (converted) return [quoteCommand(build)];
  const convert = ["mmtrt", "convert", source, "--output_dir", checkpoint, ...of(convertOptions)];
  return [quoteCommand(convert), quoteCommand(build)];
}

function flag(key: string, value: OptionValue): readonly string[] {
  if (typeof value === "boolean") return [value ? `--${key}` : `--no_${key}`];
  return [`--${key}`, ...(typeof value === "object" ? value.map(String) : [String(value)])];
}

/** The models of configs/models, smallest first. */
export function listText(models: readonly PublishedModel[]): string {
  const rows = models.map(({ name, parameters, num_visual_features: features, hub, unconfirmed }) => [
    name,
    showCount(parameters),
    features === 0 ? undefined : features,
    `${hub ?? "not published"}${unconfirmed === undefined ? "" : " (in part not confirmed)"}`,
  ]);
  return formatTable(["name", "parameters", "visual features", "Hugging Face Hub"], rows);
}

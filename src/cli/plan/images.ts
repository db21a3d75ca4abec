import { budgetOf, type ImageBudget, type ImageLimits } from "../../build/image-budget.ts";
import type { BuildPlan } from "../../build/plan.ts";
import { fail, throwIfAny } from "../../diagnostics/index.ts";
import type { BuildConfig } from "../../formats/engine-config.ts";
import { openEngine } from "../../formats/engine-dir.ts";
import { type ImageSize, parseSize, showSize, sizeProblem, type VisualTokenRule } from "../../vision/index.ts";
import { formatTable } from "../ui.ts";

/** The sizes of `--images`. Errors: BLD091 with every one that is none. */
export function readSizes(texts: readonly string[], at: string): readonly ImageSize[] {
  const sizes = texts.map(parseSize);
  throwIfAny(
    texts
      .filter((_, i) => sizes[i] === undefined)
      .map(text => ({
        code: "BLD091",
        what: `${JSON.stringify(text)} is no size of an image; expected WIDTHxHEIGHT in pixels, of 1 to 65535 each`,
        at,
        why: "what an image takes follows from its pixels",
        fix: "--images 1280x720,640x480",
      })),
  );
  return sizes.filter(size => size !== undefined);
}

export function budgetFor(
  rule: VisualTokenRule | undefined,
  sizes: readonly ImageSize[],
  limits: ImageLimits,
  { name, at }: { readonly name: string; readonly at: string },
): ImageBudget {
  return rule === undefined ? noImages(name, at) : budgetOf(rule, accepted(rule, sizes, at), limits);
}

/** Errors: BLD091 with every size that the model's image processor refuses. */
function accepted(rule: VisualTokenRule, sizes: readonly ImageSize[], at: string): readonly ImageSize[] {
  throwIfAny(
    sizes.flatMap(size => {
      const reason = sizeProblem(rule, size);
      if (reason === undefined) return [];
      return {
        code: "BLD091",
        what: `the model takes no image of ${showSize(size)}: ${reason}`,
        at,
        why: "its image processor refuses longer pictures",
        fix: "leave this size out; pictures like it are to be cut into shorter ones",
      };
    }),
  );
  return sizes;
}

/** What was planned, with every number resolved. */
export function planLimits({ options }: Pick<BuildPlan, "options">): ImageLimits {
  const of = (key: keyof ImageLimits): number => Number(options[key]);
  return {
    max_batch_size: of("max_batch_size"),
    max_input_len: of("max_input_len"),
    max_multimodal_len: of("max_multimodal_len"),
    max_visual_batch: of("max_visual_batch"),
  };
}

/** Of an engine directory: its own limits. Errors: BLD002, BLD003, BLD091. */
export async function engineBudget(dir: string, sizes: readonly ImageSize[], at: string): Promise<ImageBudget> {
  const { manifest, visual, llm } = await openEngine(dir);
  const { num_visual_features: features, visual_tokens: own } = manifest.model;
  if (visual === undefined || llm === undefined || features === 0 || manifest.model.encoder_decoder !== undefined)
    return noImages(dir, at);
  // One size of image: patches are of no account, for the visual engine's batch counts images.
  const rule = own ?? { kind: "fixed", features, patches: 1 };
  return budgetOf(rule, accepted(rule, sizes, at), limitsOf(llm.build_config, visual.builder_config.max_batch_size));
}

function limitsOf(
  { max_batch_size, max_input_len, max_multimodal_len }: BuildConfig,
  visualBatch: number,
): ImageLimits {
  return { max_batch_size, max_input_len, max_multimodal_len, max_visual_batch: visualBatch };
}

/** One line an image, then the limits that hold them, then what the engines' own limits hold. */
export function budgetText({ images, beside, limits, rows, longest, fitting, unit }: ImageBudget): string {
  const cut = unit !== "images";
  const table = formatTable(
    ["image", ...(cut ? [unit, "grid"] : []), "visual features", "prompt tokens", "at once", "visual calls"],
    images.map(image => [
      image.image,
      ...(cut ? [image[unit], image.grid.rows === 0 ? "uncut" : `${image.grid.rows} × ${image.grid.cols}`] : []),
      image.features,
      image.tokens,
      image.batch === 0 ? "does not fit" : image.batch,
      image.visual_calls,
    ]),
  );
  const { max_batch_size: batch, max_multimodal_len: has, max_input_len: length } = limits;
  const most = [
    `--max_multimodal_len ${rows.together} for ${images.length === 1 ? "this image" : `these ${images.length} images`} in one batch`,
    `--max_multimodal_len ${rows.full_batch} for max_batch_size ${batch} of the largest of them`,
    `--max_multimodal_len ${rows.any} for max_batch_size ${batch} of any images`,
    `--max_input_len ${longest} and the text's tokens for the largest of them`,
  ];
  const company =
    beside && `each of several images in one prompt brings ${beside.features} visual features, whatever its size`;
  const shapes = fitting.map(shape => {
    if (shape.kind === "up_to") return `${shape.shape} up to ${shape.size.width}x${shape.size.height}`;
    return `${shape.shape} ${shape.kind === "all" ? "any size" : "none"}`;
  });
  const held = fitting.every(({ kind }) => kind === "all") ? "images of any size" : shapes.join(", ");
  const fits = `with max_multimodal_len ${has} and max_input_len ${length} a full batch of ${batch} takes ${held}`;
  return [table, "", ...most, ...(company === undefined ? [] : [company]), "", fits].join("\n");
}

function noImages(name: string, at: string): never {
  return fail({
    code: "BLD091",
    what: `${name} puts no images into its prompt`,
    at,
    why: "visual features of images are rows of the prompt table, and this model has none",
    fix: "leave out --images, or plan a model that sees",
  });
}

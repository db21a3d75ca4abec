import { type Problem, throwIfAny } from "../../diagnostics/index.ts";
import type { EngineModel } from "../../formats/engine-config.ts";
import { arrangesFeatures, tokensOf, type VisualTokenRule } from "../../vision/index.ts";
import { type Reference, unusable } from "../reference.ts";

/**
 * Whether the reference is of a model of this kind: it holds the ids, and the pictures, that this one takes. Sizes are
 * compared stage by stage.
 * @throws MmtrtError NUM004 with everything that is missing, too much or out of range.
 */
export function checkReference({ file, tensors }: Reference, model: EngineModel): void {
  const problems: Problem[] = [];
  const report = (reason: string): number => problems.push(unusable(file, reason));
  const { architecture, encoder_decoder: pair, vocab_size: vocab } = model;
  const has = (name: string): boolean => tensors.has(name);
  const pictures = tensors.get("pixel_values")?.shape ?? [0];

  if (pair?.has_text_encoder === false) {
    if (pictures[0] !== 1) report(`has pixel_values of ${pictures[0]} images; ${architecture} reads 1`);
  } else if (!has("input_ids")) report(`has no input_ids; ${architecture} reads a prompt`);
  if (has("pixel_values") && model.num_visual_features === 0)
    report(`has pixel_values; ${architecture} takes no images`);
  const packs = model.visual_tokens?.kind === "patches";
  const axes = packs ? 2 : 4;
  if (has("pixel_values") && pictures.length !== axes)
    report(`has pixel_values of ${pictures.length} axes; expected ${axes}`);
  const [images, three] = tensors.get("image_grid_thw")?.shape ?? [];
  if (packs && has("pixel_values") && (images !== 1 || three !== 3))
    report("has no image_grid_thw [1, 3] beside pixel_values; expected the frames, rows and columns of its patches");

  const { visual_tokens: rule } = model;
  const tiles = rule !== undefined && arrangesFeatures(rule) ? otherTiles(rule, tensors) : undefined;
  if (has("pixel_values") && tiles !== undefined) report(tiles);

  if (pair === undefined) {
    if (has("decoder_input_ids")) report(`has decoder_input_ids; ${architecture} is a decoder alone`);
  } else if (!has("decoder_input_ids")) report(`has no decoder_input_ids; ${architecture} is an encoder-decoder`);
  const outside = Array.from(tensors.get("decoder_input_ids")?.data ?? []).find(id => id < 0 || id >= vocab);
  if (outside !== undefined) report(`has ${outside} in decoder_input_ids; the model knows 0 to ${vocab - 1}`);
  throwIfAny(problems);
}

/** A picture's features are put in order by its size. */
function otherTiles(rule: VisualTokenRule, tensors: Reference["tensors"]): string | undefined {
  const sizes = tensors.get("image_sizes");
  const [height = 0, width = 0] = sizes?.data ?? [];
  if (sizes?.shape.join() !== "1,2" || Math.min(height, width) < 1)
    return "has no image_sizes [1, 2] beside pixel_values; expected the height and width of its picture";
  const [made] = tensors.get("pixel_values")?.shape ?? [];
  const { tiles } = tokensOf(rule, { height, width });
  return made === tiles
    ? undefined
    : `has pixel_values of ${made} tiles; a picture of ${height} × ${width} has ${tiles}`;
}

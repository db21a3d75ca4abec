import { type AnyresRule, gridsOf } from "../../vision/index.ts";
import type { ConfigReader } from "../config-reader.ts";
import type { ModelSpec, VisionSpec } from "../spec.ts";
import { type LlavaFamily, readLlavaSpec } from "./llava-spec.ts";
import { checkProcessorKey, checkTile, optionalImageProcessorKeys } from "./processor-keys.ts";
import type { LanguageFamilies } from "./vision-language.ts";
import { patchesPerSide } from "./vit.ts";

export interface AnyresFamily extends LlavaFamily {
  /** The class's own grids: heights and widths in pixels. */
  readonly pinpoints: readonly (readonly [number, number])[];
  /** What the rule has beside tiles and grids. */
  readMore?(c: ConfigReader): Pick<AnyresRule, "max_tiles" | "squares_several">;
}

/** LlavaNextConfig and LlavaOnevisionConfig: LLaVA's parts, a list of grids, and the embedding of a newline. */
export function readAnyresSpec(c: ConfigReader, families: LanguageFamilies, family: AnyresFamily): ModelSpec {
  const spec = readLlavaSpec(c, families, family);
  c.only("use_image_newline_parameter", [true], "each row of an image ends with the newline's embedding");
  return { ...spec, visualTokens: readRule(c, spec.vision, family) };
}

/** The model takes its grids from config.json, and its processor cuts by a list of its own: they must be the same. */
function readRule(c: ConfigReader, tower: VisionSpec, { pinpoints: usual, readMore }: AnyresFamily): AnyresRule {
  const [tile, side] = [tower.imageSize, patchesPerSide(tower)];
  if (tower.numVisualFeatures !== side ** 2) noGrid(c, tower, side);
  const pinpoints = c.raw("image_grid_pinpoints") ?? usual;
  const grids = gridsOf(pinpoints, tile, side);
  if (grids === undefined) notTiles(c, tile);
  checkProcessors(c, tower, pinpoints);
  return { kind: "anyres", tile, side, grids: grids ?? [[1, 1]], ...readMore?.(c) };
}

function checkProcessors(c: ConfigReader, tower: VisionSpec, pinpoints: unknown): void {
  const image = optionalImageProcessorKeys(c);
  for (const key of ["size", "crop_size"])
    if (image.has(key)) checkTile(image, key, edgeOf(image.raw(key)), tower.imageSize);
  const cut = image.raw("image_grid_pinpoints") ?? pinpoints;
  if (JSON.stringify(cut) !== JSON.stringify(pinpoints)) otherGrids(image);
  checkProcessorKey(c, "patch_size", tower.patchSize, "patch_size of the tower");
  checkProcessorKey(c, "num_image_tokens", patchesPerSide(tower) ** 2, "the number of patches of a tile");
}

/** Of a number, `shortest_edge`, or `height` and `width`; as it is where that is no square. */
function edgeOf(size: unknown): unknown {
  if (typeof size !== "object" || size === null) return size;
  const { shortest_edge: shortest, height, width } = size as Readonly<Record<string, unknown>>;
  return shortest ?? (height === width ? height : size);
}

function noGrid(c: ConfigReader, { numVisualFeatures: features }: VisionSpec, side: number): void {
  c.problem(
    "SPC006",
    "vision_feature_select_strategy",
    `leaves ${features} features of a tile; expected ${side} × ${side}`,
    "tiles' features are put side by side as a grid, in which a class token has no place and none may be missing",
    'give "default" for a tower with a class token (CLIP), "full" for one without (SigLIP)',
  );
}

function notTiles(c: ConfigReader, tile: number): void {
  c.problem(
    "SPC002",
    "image_grid_pinpoints",
    `is not a list of [height, width] in whole tiles of ${tile} pixels`,
    "images are fitted into one of these sizes and cut into tiles of the tower's size",
    "give image_grid_pinpoints as it was trained",
  );
}

function otherGrids(image: ConfigReader): void {
  image.problem(
    "SPC005",
    "image_grid_pinpoints",
    "is another list than image_grid_pinpoints of config.json",
    "images would be cut into one grid and put together as another",
    "use the preprocessor_config.json that belongs to these weights",
  );
}

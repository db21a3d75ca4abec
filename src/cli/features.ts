import type { EngineModel } from "../formats/engine-config.ts";
import { tokenBounds } from "../vision/index.ts";

/** Visual features of an image, `320 to 1088` where images differ. */
export function shownFeatures({
  num_visual_features: most,
  visual_tokens: rule,
}: Pick<EngineModel, "num_visual_features" | "visual_tokens">): string {
  return rule === undefined ? String(most) : `${tokenBounds(rule).least.features} to ${most}`;
}

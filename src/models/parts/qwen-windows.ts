import type { ConfigReader } from "../config-reader.ts";
import type { DecoderSpec } from "../spec.ts";
import { readSize } from "./common-keys.ts";
import { layerKinds, readSlidingLayers } from "./layer-kinds.ts";

const DEFAULT_WINDOW = 4096;
const DEFAULT_FULL_LAYERS = 28;

/**
 * Windows of Qwen2 and Qwen3: with `use_sliding_window`, in layers from `max_window_layers` on. Without it the other keys
 * say nothing; transformers writes them all the same. `usualFull` is the class's max_window_layers.
 */
export function readQwenWindows(
  c: ConfigReader,
  layers: number,
  usualFull = DEFAULT_FULL_LAYERS,
): Pick<DecoderSpec, "layerKinds" | "slidingWindow"> {
  const used = c.boolean("use_sliding_window", false) && c.raw("sliding_window") !== null;
  const full = c.raw("max_window_layers") === 0 ? 0 : c.integer("max_window_layers", usualFull);
  const window = used ? readSize(c, "sliding_window", DEFAULT_WINDOW) : undefined;
  c.ignore("sliding_window");
  const sliding = readSlidingLayers(c, layers, layer => used && layer >= full);
  if (window === undefined && sliding.some(Boolean)) {
    c.problem(
      "SPC005",
      "layer_types",
      'has "sliding_attention", but use_sliding_window is not true',
      "both say which layers see only the last tokens, and only one of them can be right",
      'give use_sliding_window as true, or layer_types as "full_attention" alone',
    );
  }
  return layerKinds(sliding.map(slides => ({ rope: "global", ...(slides && window !== undefined && { window }) })));
}

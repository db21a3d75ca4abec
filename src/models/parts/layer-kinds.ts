import type { ConfigReader } from "../config-reader.ts";
import type { DecoderSpec, LayerKind } from "../spec.ts";

const TYPES = ["full_attention", "sliding_attention"];

/**
 * Whether each layer has the window: `layer_types` (transformers from 4.53), or what the family does where that is not
 * written.
 */
export function readSlidingLayers(
  c: ConfigReader,
  layers: number,
  usual: (layer: number) => boolean,
): readonly boolean[] {
  // The count of a damaged config is bounded when it is read; a problem is there already.
  const byHabit = Array.from({ length: layers }, (_, layer) => usual(layer));
  const types = c.raw("layer_types");
  if (types === undefined || types === null) return byHabit;
  if (Array.isArray(types) && types.length === layers && types.every(type => TYPES.includes(type)))
    return types.map(type => type === "sliding_attention");
  c.problem(
    "SPC004",
    "layer_types",
    `is not a list of num_hidden_layers (${layers}) names out of ${TYPES.join(", ")}`,
    "each layer's attention sees all tokens before it or those of a window, and the list says which",
    "give layer_types as it was trained, one for each layer",
  );
  return byHabit;
}

/** What the spec says of layers: nothing where all count alike and see everything, one window where all have it. */
export function layerKinds(kinds: readonly LayerKind[]): Pick<DecoderSpec, "layerKinds" | "slidingWindow"> {
  const [first] = kinds;
  const alike = kinds.every(({ window, rope }) => window === first?.window && rope === "global");
  if (!alike) return { layerKinds: kinds };
  return first?.window === undefined ? {} : { slidingWindow: first.window };
}

/** past_key_3, present_value_0, cache_key_2, cache_key_2_out, cross_value_1: a tensor that every layer has one of. */
const OF_LAYER = /^(past|present|cache|cross)_(key|value)_(\d+)(_out)?$/;

/** Layers whose keys and values a graph takes or gives. */
export function layersIn(names: readonly string[]): number {
  return Math.max(0, ...names.map(name => Number(OF_LAYER.exec(name)?.[3] ?? -1) + 1));
}

/**
 * The name outside of the ranks of a rank's tensor. Every rank has keys and values of its own heads and layers, numbered
 * from 0 in each; outside they are numbered one rank after the other, so that no cache need be joined or cut.
 * `before`: layers of the ranks in front.
 */
export function outerName(name: string, before: number): string {
  return name.replace(
    OF_LAYER,
    (_, time: string, part: string, layer: string, out = "") => `${time}_${part}_${Number(layer) + before}${out}`,
  );
}

import { compareValues, isClose } from "../compare.ts";
import type { TapValue } from "../tapped-graph.ts";
import { coordinates, type StageResult } from "../verify/stages.ts";
import type { Watched, WatchedRanks } from "./watch.ts";

/** Values of the latest run of both, in the order in which they are computed. */
export function compareRun(at: string, ranks: WatchedRanks, whole: Watched, tolerance: number): readonly StageResult[] {
  const expected = whole.values();
  const compared = [...ranks.values()].flatMap(([name, value]) => {
    const other = expected.get(name);
    return other === undefined ? [] : [{ name, result: compareValue(`${at}: ${name}`, value, other, tolerance) }];
  });
  const disagree = ranks.disagreements.map(what => {
    const note = "it is not what the first rank of its pipeline stage has";
    return { name: what, result: { stage: `${at}: ${what}`, state: "differs", note } satisfies StageResult };
  });
  return [...compared, ...disagree]
    .sort((a, b) => compareOrder(orderOf(a.name), orderOf(b.name)))
    .map(({ result }) => result);
}

function compareValue(stage: string, actual: TapValue, expected: TapValue, tolerance: number): StageResult {
  if (String(actual.dims) !== String(expected.dims))
    return { stage, state: "differs", note: `it is [${actual.dims}], in one piece [${expected.dims}]` };
  const difference = compareValues(actual.data, expected.data);
  const state = isClose(difference, tolerance) ? "equal" : "differs";
  const limit = tolerance * Math.max(1, difference.scale);
  return { stage, state, difference, limit, index: coordinates(difference.index, expected.dims) };
}

/** Embeddings, then each layer's sums and the layer, then what is made of the last layer. */
function orderOf(name: string): readonly [number, number] {
  const [, layer, part = ""] = /(?:^|_)layers\.(\d+)(?:\/(\w+))?/.exec(name) ?? [];
  if (layer === undefined) return /embeds|encoder_input/.test(name) ? [-1, 0] : [Number.POSITIVE_INFINITY, 0];
  const parts = ["attention", "self_attention", "cross_attention", "mlp"];
  if (!name.includes("all-reduce")) return [Number(layer), parts.length];
  return [Number(layer), Math.max(0, parts.indexOf(part))];
}

function compareOrder(a: readonly [number, number], b: readonly [number, number]): number {
  return a[0] === b[0] ? a[1] - b[1] : a[0] - b[0];
}

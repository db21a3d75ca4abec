import type { EnginePart } from "../../formats/engine-config.ts";
import { type OrtGraph, type OrtOptions, type Tensor, toFloat32 } from "../ort.ts";
import { openTapped, type TapValue } from "../tapped-graph.ts";
import type { Collective } from "./cut.ts";
import { openRankedGraph, type RankShape } from "./graph.ts";

/** Graphs whose inner values can be compared: by tap, by output, and by collective. */
export interface Watched extends OrtGraph {
  /** Values of the latest run. */
  values(): ReadonlyMap<string, TapValue>;
}

export interface WatchedRanks extends Watched {
  /**
   * Sums over ranks within layers, by a name that has the model's layer number (`layers.7/mlp all-reduce`), and which value of the
   * model in one piece each should equal. Known after the first run.
   */
  readonly sums: ReadonlyMap<string, string>;
  /** Outputs in which a stage's ranks disagreed in the latest run, as `logits of rank 1`. */
  readonly disagreements: readonly string[];
}

/** The model in one piece, with its taps and the values that `sums` names. */
export async function watchWhole(
  part: EnginePart,
  options: OrtOptions,
  sums: ReadonlyMap<string, string>,
): Promise<Watched> {
  const graph = await openTapped(part, options, sums);
  const values = (): [string, TapValue][] =>
    [...new Set([...graph.taps, ...graph.outputs])].filter(isCompared).flatMap(name => {
      const value = graph.lastValue(name);
      return value === undefined ? [] : [[name, value] as [string, TapValue]];
    });
  return { ...graph, values: () => new Map(values()) };
}

/** All ranks. `layers`: of the whole model, to number those of later pipeline stages. */
export async function watchRanks(
  parts: readonly EnginePart[],
  shape: RankShape,
  layers: number,
  options: OrtOptions,
): Promise<WatchedRanks> {
  const sums = new Map<string, string>();
  let values = new Map<string, TapValue>();
  let disagreements: string[] = [];
  let leader = new Map<string, Tensor>();
  const before = (stage: number): number => (layers / shape.ppSize) * stage;
  const keep = (name: string, tensor: Tensor): void => {
    if (tensor.type === "float32" || tensor.type === "float16")
      values.set(name, { data: toFloat32(tensor).slice(), dims: tensor.dims });
  };
  const graph = await openRankedGraph(parts, shape, options, {
    collective(stage, collective, result) {
      const named = sumName(collective, before(stage));
      if (named === undefined) return;
      sums.set(named.name, named.whole);
      keep(named.name, result);
    },
    rank(rank, outputs, taps) {
      const shown = Object.entries({ ...taps, ...outputs }).filter(([name]) => isCompared(name));
      if (rank % shape.tpSize === 0) {
        leader = new Map(shown);
        // A later stage calls what it is handed on its embeddings.
        for (const [name, tensor] of shown) if (!values.has(name)) keep(name, tensor);
        return;
      }
      for (const [name, tensor] of shown) {
        const first = leader.get(name);
        if (first === undefined || !sameBits(first, tensor)) disagreements.push(`${name} of rank ${rank}`);
      }
    },
  });
  return {
    file: graph.file,
    outputs: graph.outputs,
    tensor: (...given) => graph.tensor(...given),
    close: () => graph.close(),
    async run(feeds) {
      values = new Map();
      disagreements = [];
      return graph.run(feeds);
    },
    values: () => values,
    sums,
    get disagreements() {
      return disagreements;
    },
  };
}

const LAYER = /^((?:encoder_|decoder_)?layers\.)(\d+)(?=\/)/;

/** `layers.1/mlp/DistCollective` of the second stage of 4 layers → `layers.5/mlp all-reduce`; undefined outside of layers. */
function sumName(
  { kind, node, input }: Collective,
  before: number,
): { readonly name: string; readonly whole: string } | undefined {
  if (kind !== "all_reduce" || !LAYER.test(node)) return undefined;
  const renumbered = (name: string): string =>
    name.replace(LAYER, (_, prefix: string, layer: string) => `${prefix}${Number(layer) + before}`);
  return { name: renumbered(node).replace(/\/DistCollective/, " all-reduce"), whole: renumbered(input) };
}

/** Keys and values are a rank's own; what is made of them is compared. */
function isCompared(name: string): boolean {
  return !/^(present|cache|cross)_/.test(name);
}

/** All ranks of a stage compute the same from the same sums, to the bit. */
function sameBits(a: Tensor, b: Tensor): boolean {
  const bytes = ({ data }: Tensor): Buffer => {
    const { buffer, byteOffset, byteLength } = data as Float32Array;
    return Buffer.from(buffer, byteOffset, byteLength);
  };
  return bytes(a).equals(bytes(b));
}

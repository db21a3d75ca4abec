import type { EnginePart } from "../../formats/engine-config.ts";
import { type Fetches, type OrtGraph, type OrtOptions, openGraph, toFloat32 } from "../ort.ts";
import { openTapped, type TappedGraph } from "../tapped-graph.ts";
import { openRankedGraph, type RankShape } from "./graph.ts";

/** The graph of a model's only rank, or all ranks behind one. Errors: RUN011. */
export async function openRanks(
  parts: readonly EnginePart[],
  shape: RankShape,
  options: OrtOptions,
  openOne: (onnx: string, options: OrtOptions) => Promise<OrtGraph> = openGraph,
): Promise<OrtGraph> {
  const [only, ...others] = parts as readonly [EnginePart, ...EnginePart[]];
  return others.length === 0 ? openOne(only.onnx, options) : openRankedGraph(parts, shape, options);
}

/** The same with inner values to look at: of several ranks the first of each pipeline stage, for the others have the same. */
export async function openTappedRanks(
  parts: readonly EnginePart[],
  shape: RankShape,
  options: OrtOptions,
): Promise<TappedGraph> {
  const [only, ...others] = parts as readonly [EnginePart, ...EnginePart[]];
  if (others.length === 0) return openTapped(only, options);
  let seen: Record<string, Fetches[string]> = {};
  let first: Fetches | undefined;
  let last: Fetches = {};
  const graph = await openRankedGraph(parts, shape, options, {
    rank: (rank, outputs, taps) => {
      if (rank % shape.tpSize !== 0) return;
      // A later stage calls what it is handed on its embeddings.
      for (const [name, tensor] of Object.entries({ ...taps, ...outputs })) seen[name] ??= tensor;
    },
  });
  const value = (values: Fetches | undefined, tap: string): ReturnType<TappedGraph["firstValue"]> => {
    const tensor = values?.[tap];
    return tensor && { data: toFloat32(tensor), dims: tensor.dims };
  };
  return {
    file: graph.file,
    outputs: graph.outputs,
    tensor: (...given) => graph.tensor(...given),
    close: () => graph.close(),
    get taps() {
      return Object.keys(first ?? {}).filter(name => !graph.outputs.includes(name));
    },
    async run(feeds) {
      seen = {};
      const outputs = await graph.run(feeds);
      [first, last] = [first ?? seen, seen];
      return outputs;
    },
    firstValue: tap => value(first, tap),
    lastValue: tap => value(last, tap),
  };
}

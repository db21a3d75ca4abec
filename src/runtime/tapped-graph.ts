import { copyFile, link, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import type { EnginePart } from "../formats/engine-config.ts";
import { readOnnx } from "../formats/onnx/read.ts";
import { encodeExtraOutputs, type OnnxModel, TAP_PREFIX } from "../formats/onnx/schema.ts";
import { type Fetches, type OrtGraph, type OrtOptions, openGraph, toFloat32 } from "./ort.ts";

export interface TapValue {
  readonly data: Float32Array;
  readonly dims: readonly number[];
}

/** A graph whose inner values can be looked at, by the name of a tap or of an output. */
export interface TappedGraph extends OrtGraph {
  readonly taps: readonly string[];
  /** Value in the first run since the graph was opened; undefined for a tap that it has not. */
  firstValue(tap: string): TapValue | undefined;
  /** Value in the latest run. */
  lastValue(tap: string): TapValue | undefined;
}

/** Names of inner values by tap, as the file's metadata has them. */
export function tapsOf({ metadataProps }: OnnxModel): ReadonlyMap<string, string> {
  const named = metadataProps.filter(({ key }) => key.startsWith(TAP_PREFIX));
  return new Map(named.map(({ key, value }) => [key.slice(TAP_PREFIX.length), value]));
}

/**
 * A new directory with a part's weights in it, for changed copies of its graph. Weights are hard-linked, so it lies beside
 * them; where that directory cannot be written they are copied to the temporary one.
 */
export async function besideWeights(
  part: Pick<EnginePart, "onnx" | "weights" | "tables">,
): Promise<{ readonly dir: string; remove(): Promise<void> }> {
  const dir = await mkdtemp(join(dirname(part.onnx), ".verify-")).catch(() => mkdtemp(join(tmpdir(), "mmtrt-verify-")));
  const remove = (): Promise<void> => rm(dir, { recursive: true, force: true });
  const files = [part.weights, ...(part.tables === undefined ? [] : [part.tables])];
  try {
    for (const file of files) {
      const placed = join(dir, basename(file));
      await link(file, placed).catch(() => copyFile(file, placed));
    }
  } catch (error) {
    await remove();
    throw error;
  }
  return { dir, remove };
}

/** Opens a copy of a graph with its taps as outputs, and `more` values that it may have, by the name to give them. */
export async function openTapped(
  part: EnginePart,
  options: OrtOptions,
  more: ReadonlyMap<string, string> = new Map(),
): Promise<TappedGraph> {
  const model = await readOnnx(part.onnx);
  const { graph } = model;
  const computed = new Set(graph.node.flatMap(({ output }) => output));
  const tapValues = new Map([...tapsOf(model), ...[...more].filter(([, value]) => computed.has(value))]);
  const present = new Set(graph.output.map(({ name }) => name));
  const missing = [...new Set(tapValues.values())].filter(name => !present.has(name));
  const { dir, remove } = await besideWeights(part);
  try {
    const file = join(dir, basename(part.onnx));
    await writeFile(file, Buffer.concat([await readFile(part.onnx), encodeExtraOutputs(missing)]));
    return tapped(await openGraph(file, options), tapValues, remove);
  } catch (error) {
    await remove();
    throw error;
  }
}

function tapped(graph: OrtGraph, tapValues: ReadonlyMap<string, string>, remove: () => Promise<void>): TappedGraph {
  let first: Fetches | undefined;
  let last: Fetches | undefined;
  const valueIn = (run: Fetches | undefined, tap: string): TapValue | undefined => {
    const value = run?.[tapValues.get(tap) ?? tap];
    return value && { data: toFloat32(value), dims: value.dims };
  };
  return {
    ...graph,
    taps: [...tapValues.keys()],
    async run(feeds) {
      const outputs = await graph.run(feeds);
      first ??= outputs;
      last = outputs;
      return outputs;
    },
    firstValue: tap => valueIn(first, tap),
    lastValue: tap => valueIn(last, tap),
    async close() {
      await graph.close();
      await remove();
    },
  };
}

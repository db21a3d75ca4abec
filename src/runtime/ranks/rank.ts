import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { EnginePart } from "../../formats/engine-config.ts";
import { type OnnxPartInput, partsOf } from "../../formats/onnx/part.ts";
import { readOnnx } from "../../formats/onnx/read.ts";
import { type OnnxModel, tensorTypeOf } from "../../formats/onnx/schema.ts";
import { DTYPES } from "../../tensor/index.ts";
import { type OrtGraph, type OrtOptions, openTyped } from "../ort.ts";
import { besideWeights, tapsOf } from "../tapped-graph.ts";
import { cutAtCollectives, type Segment } from "./cut.ts";

/** A rank's graph, cut; every piece is loaded. */
export interface Rank {
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Names of inner values by tap; empty where they are not shown. */
  readonly taps: ReadonlyMap<string, string>;
  readonly segments: readonly LoadedSegment[];
}

export interface LoadedSegment extends Segment {
  /** undefined where one collective follows another. */
  readonly graph: OrtGraph | undefined;
}

/** A rank's file, read and cut, before it is loaded. */
export interface CutRank extends Omit<Rank, "segments"> {
  readonly part: EnginePart;
  readonly model: OnnxModel;
  readonly segments: readonly Segment[];
}

export async function cutRank(part: EnginePart, showsTaps: boolean): Promise<CutRank> {
  const model = await readOnnx(part.onnx);
  const taps = showsTaps ? tapsOf(model) : new Map<string, string>();
  return {
    part,
    model,
    inputs: model.graph.input.map(({ name }) => name),
    outputs: model.graph.output.map(({ name }) => name),
    taps,
    segments: cutAtCollectives(model, new Set(taps.values())),
  };
}

/** Loads the pieces in order: what ONNX Runtime infers of a piece's outputs are the types of the next one's inputs. */
export async function loadRank({ part, model, segments, ...names }: CutRank, options: OrtOptions): Promise<Rank> {
  const encode = partsOf(await readFile(part.onnx));
  const types = new Map(model.graph.input.map(value => [value.name, declared(value)]));
  const loaded: LoadedSegment[] = [];
  const { dir, remove } = await besideWeights(part);
  try {
    for (const [at, segment] of segments.entries()) {
      const file = join(dir, `${at}.onnx`);
      const empty = segment.nodes.start === segment.nodes.end;
      if (!empty) {
        const inputs = segment.inputs.map(name => ({ name, ...typeCalled(name, types) }));
        await writeFile(file, encode({ ...segment, inputs }));
      }
      const graph = empty ? undefined : await openTyped(file, options);
      loaded.push({ ...segment, graph });
      for (const [name, { dtype, shape }] of graph?.types ?? [])
        types.set(name, { elemType: DTYPES[dtype].onnx, shape });
      if (segment.ends) types.set(segment.ends.output, resultType(segment.ends, types));
    }
  } catch (error) {
    for (const { graph } of loaded) await graph?.close();
    throw error;
  } finally {
    // What a session has mapped stays as long as the session; Windows, which locks such files, keeps them until it ends.
    await remove().catch(() => undefined);
  }
  return { ...names, segments: loaded };
}

type InputType = Omit<OnnxPartInput, "name">;

function declared(input: OnnxModel["graph"]["input"][number]): InputType {
  const { elemType, dims } = tensorTypeOf(input);
  // A named size comes with a number of 0.
  return { elemType, shape: dims.map(({ dimParam, dimValue }) => (dimParam ? undefined : dimValue)) };
}

function typeCalled(name: string, types: ReadonlyMap<string, InputType>): InputType {
  const type = types.get(name);
  if (type === undefined) throw new Error(`nothing in front of it computes ${name}`);
  return type;
}

function resultType(
  { kind, input, ranks }: NonNullable<Segment["ends"]>,
  types: ReadonlyMap<string, InputType>,
): InputType {
  const type = typeCalled(input, types);
  const [rows, ...rest] = type.shape;
  if (kind === "all_reduce") return type;
  return { ...type, shape: [rows === undefined ? undefined : rows * ranks, ...rest] };
}

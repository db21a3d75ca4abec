import { fail } from "../../diagnostics/index.ts";
import type { VisualEngineConfig } from "../../formats/engine-config.ts";
import {
  inWindowOrder,
  type PackedInputs,
  type PatchesRule,
  type PatchGrid,
  packedInputs,
  patchesOf,
} from "../../vision/index.ts";
import type { PixelValues } from "../image/preprocess.ts";
import { type Feeds, fromFloat32, type OrtGraph, type Tensor, toFloat32 } from "../ort.ts";
import { type Features, joinFeatures } from "../prompt-table.ts";

/** A picture that was cut into patches. */
interface Picture {
  readonly grid: PatchGrid;
  readonly data: Float32Array;
}

/** What pictures of a call take of the profile. */
interface CallSize {
  readonly patches: number;
  readonly frames: number;
  readonly windows: number;
}

/**
 * Features of pictures of packed patches, in order: whole pictures in as few calls as the visual engine's profile has room for.
 * @throws MmtrtError RUN010 for a picture of more patches than a call takes.
 */
export async function encodePacked(
  graph: OrtGraph,
  config: VisualEngineConfig,
  rule: PatchesRule,
  images: readonly PixelValues[],
): Promise<Features> {
  const pictures = images.map(pictureOf);
  const features: Features[] = [];
  for (const call of callsOf(pictures, rule, config)) features.push(await encodeCall(graph, config, rule, call));
  return joinFeatures(features);
}

function pictureOf({ patches, data }: PixelValues): Picture {
  if (patches === undefined) throw new Error("a picture that was not cut into patches");
  return { grid: patches, data };
}

/** Neighbours stay together; a call ends where the next picture would be more than the profile takes of any input. */
function callsOf(
  pictures: readonly Picture[],
  rule: PatchesRule,
  config: VisualEngineConfig,
): readonly (readonly Picture[])[] {
  const most = largestCall(config);
  const calls: Picture[][] = [];
  let filled: CallSize | undefined;
  for (const picture of pictures) {
    const own = sizeOf(picture.grid, rule);
    if (own.patches > most.patches) tooManyPatches(picture.grid, most.patches);
    const together = filled && added(filled, own);
    if (together !== undefined && holds(most, together)) {
      calls.at(-1)?.push(picture);
      filled = together;
    } else {
      calls.push([picture]);
      filled = own;
    }
  }
  return calls;
}

function largestCall({ profiles }: VisualEngineConfig): CallSize {
  const most = (input: string): number => profiles[0]?.shapes[input]?.max[0] ?? Number.POSITIVE_INFINITY;
  return { patches: most("input"), frames: most("cu_seqlens") - 1, windows: most("cu_window_seqlens") - 1 };
}

function sizeOf(grid: PatchGrid, { patch, merge, window }: PatchesRule): CallSize {
  const { windows } = packedInputs({ patch, merge, ...(window !== undefined && { window }) }, [grid]);
  return {
    patches: patchesOf(grid),
    frames: grid.frames,
    windows: windows === undefined ? 0 : windows.cuSeqlens.length - 1,
  };
}

function holds(most: CallSize, size: CallSize): boolean {
  return size.patches <= most.patches && size.frames <= most.frames && size.windows <= most.windows;
}

function added(a: CallSize, b: CallSize): CallSize {
  return { patches: a.patches + b.patches, frames: a.frames + b.frames, windows: a.windows + b.windows };
}

async function encodeCall(
  graph: OrtGraph,
  config: VisualEngineConfig,
  rule: PatchesRule,
  pictures: readonly Picture[],
): Promise<Features> {
  const { merge } = rule;
  const grids = pictures.map(({ grid }) => grid);
  const packed = packedInputs(rule, grids);
  const outputs = await graph.run({
    input: inputOf(graph, config, rule, pictures, packed),
    ...tablesOf(graph, packed),
  });
  const [output, deepstack] = [outputs.output as Tensor, outputs.deepstack];
  const [rows = 0, hidden = 0] = output.dims;
  const merged = grids.map(({ frames, rows, cols }) => ({ frames, rows: rows / merge, cols: cols / merge }));
  return {
    ...{ rows, hidden, values: toFloat32(output) },
    ...(deepstack && { deepstack: toFloat32(deepstack) }),
    grids: merged,
    imageRows: merged.map(patchesOf),
  };
}

function inputOf(
  graph: OrtGraph,
  { io }: VisualEngineConfig,
  { merge }: PatchesRule,
  pictures: readonly Picture[],
  { windows, positions }: PackedInputs,
): Tensor {
  const patches = positions.length / 2;
  const size = pictures.reduce((sum, { data }) => sum + data.length, 0);
  const all = new Float32Array(size);
  let at = 0;
  for (const { data } of pictures) {
    all.set(data, at);
    at += data.length;
  }
  const rows = windows === undefined ? all : inWindowOrder(all, (size / patches) * merge * merge, windows.index);
  const dtype = io.find(({ name }) => name === "input")?.dtype ?? "float32";
  return fromFloat32(graph, dtype, rows, [patches, size / patches]);
}

function tablesOf(graph: OrtGraph, { positions, cuSeqlens, windows, table }: PackedInputs): Feeds {
  const int32 = (data: Int32Array, ...dims: readonly number[]): Tensor => graph.tensor("int32", data, dims);
  const patches = positions.length / 2;
  return {
    patch_positions: int32(positions, patches, 2),
    cu_seqlens: int32(cuSeqlens, cuSeqlens.length),
    ...(windows && {
      cu_window_seqlens: int32(windows.cuSeqlens, windows.cuSeqlens.length),
      window_order: int32(windows.order, windows.order.length),
    }),
    ...(table && {
      table_rows: int32(table.rows, patches, 4),
      table_weights: graph.tensor("float32", table.weights, [patches, 4]),
    }),
  };
}

function tooManyPatches({ rows, cols, frames }: PatchGrid, most: number): never {
  const seen = frames === 1 ? `${rows} × ${cols}` : `${frames} × ${rows} × ${cols}`;
  return fail({
    code: "RUN010",
    what: `a picture has ${seen} patches; the visual engine takes ${most} at once`,
    at: "--image",
    why: "patches of one picture attend to each other, so that they go through the image encoder together",
    fix: `build with --max_visual_batch ${rows * cols * frames} or more, or make the picture smaller`,
  });
}

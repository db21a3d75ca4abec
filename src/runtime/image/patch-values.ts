import { fail } from "../../diagnostics/index.ts";
import type { StoredTensor } from "../../tensor/index.ts";
import { type PatchesRule, type PatchGrid, patchesOf, patchTokens } from "../../vision/index.ts";
import type { PixelValues } from "./preprocess.ts";

/** Channels of a picture. */
const CHANNELS = 3;

/** Numbers of a patch. */
export function patchSize({ patch, temporal_patch }: PatchesRule): number {
  return CHANNELS * temporal_patch * patch * patch;
}

/**
 * Pictures as Qwen VL's processors leave them: `pixel_values`, float32 [patches, numbers of a patch], and `image_grid_thw`, int32 or int64
 * [images, 3], whose frames, rows and columns add up to the patches.
 * @throws MmtrtError RUN018 when a tensor is missing or does not fit; CKP… for the file.
 */
export async function readPatchValues(
  file: string,
  rule: PatchesRule,
  tensors: ReadonlyMap<string, StoredTensor>,
): Promise<readonly PixelValues[]> {
  const [stored, sizes] = [tensors.get("pixel_values"), tensors.get("image_grid_thw")];
  const [patches, numbers] = stored?.shape ?? [];
  if (stored?.shape.length !== 2 || stored.dtype !== "float32" || !patches || numbers !== patchSize(rule))
    return notPatches(
      file,
      `pixel_values in ${file} is ${shown(stored)}; expected float32 [patches, ${patchSize(rule)}]`,
    );
  const [count = 0, three] = sizes?.shape ?? [];
  if (sizes?.shape.length !== 2 || !["int32", "int64"].includes(sizes.dtype) || three !== 3 || count > patches)
    return notPatches(file, `image_grid_thw in ${file} is ${shown(sizes)}; expected int64 [images, 3]`);
  const grids = gridsOf(wholeNumbers(await sizes.readRows(0, count), sizes.dtype));
  const wrong = grids.find(grid => !isGrid(grid, rule, patches));
  if (wrong !== undefined)
    return notPatches(
      file,
      `image_grid_thw in ${file} holds ${Object.values(wrong).join(" × ")}; expected one frame of whole features`,
    );
  const all = grids.reduce((sum, grid) => sum + patchesOf(grid), 0);
  if (all !== patches)
    return notPatches(file, `pixel_values in ${file} has ${patches} patches; image_grid_thw says ${all}`);
  const { buffer, byteOffset, byteLength } = await stored.readRows(0, patches);
  return patchPictures(rule, new Float32Array(buffer, byteOffset, byteLength / 4), grids);
}

/** Rows of pictures one after the other, by the grid that each has. */
export function patchPictures(
  rule: PatchesRule,
  rows: Float32Array,
  grids: readonly PatchGrid[],
): readonly PixelValues[] {
  let start = 0;
  return grids.map(patches => {
    const first = start;
    start += patchesOf(patches) * patchSize(rule);
    const { rows: down, cols } = patches;
    const data = rows.subarray(first, start);
    return {
      height: down * rule.patch,
      width: cols * rule.patch,
      data,
      patches,
      tokens: patchTokens(rule, { rows: down, cols }),
    };
  });
}

/** Triples of frames, rows and columns. */
export function gridsOf(numbers: readonly number[]): readonly PatchGrid[] {
  return Array.from({ length: numbers.length / 3 }, (_, i) => ({
    ...{ frames: numbers[3 * i] as number, rows: numbers[3 * i + 1] as number, cols: numbers[3 * i + 2] as number },
  }));
}

/** An image, whose sides are whole features; `most` patches at most, whatever a file says. */
function isGrid({ frames, rows, cols }: PatchGrid, { merge }: PatchesRule, most: number): boolean {
  return frames === 1 && [rows, cols].every(side => side >= merge && side <= most && side % merge === 0);
}

function wholeNumbers({ buffer, byteOffset, byteLength }: Uint8Array, dtype: string): readonly number[] {
  const view = new DataView(buffer, byteOffset, byteLength);
  const size = dtype === "int64" ? 8 : 4;
  return Array.from({ length: byteLength / size }, (_, i) =>
    size === 8 ? Number(view.getBigInt64(i * size, true)) : view.getInt32(i * size, true),
  );
}

function shown(stored: StoredTensor | undefined): string {
  return stored === undefined ? "missing" : `${stored.dtype} [${stored.shape.join(", ")}]`;
}

function notPatches(file: string, what: string): never {
  return fail({
    code: "RUN018",
    what,
    at: file,
    why: "the vision encoder takes patches as the image processor leaves them, and places them by the grid they were cut from",
    fix: 'save_file({"pixel_values": out.pixel_values, "image_grid_thw": out.image_grid_thw}, FILE), of out = processor(images=…, return_tensors="pt")',
  });
}

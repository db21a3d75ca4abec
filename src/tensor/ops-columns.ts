import { make, must } from "./ops.ts";
import { rowBytes, rowCount, type TensorRecipe } from "./recipe.ts";
import { byteLength } from "./shape.ts";

/** Source bytes read at once below: columns of a wide matrix must not pull the whole matrix into memory. */
const BAND = 1 << 20;

/** Most bytes a transpose keeps between two calls; 1/8 of the memory limit of `convert`. */
const PANEL = 32 << 20;

/** Columns [start, end) of axis 1, for every row. */
export function sliceColumns(recipe: TensorRecipe, start: number, end: number): TensorRecipe {
  const [rows = 0, columns = 0, ...inner] = recipe.shape;
  must(
    recipe.shape.length >= 2 && start >= 0 && start <= end && end <= columns,
    `columns ${start}…${end} of ${recipe.name}`,
  );
  if (start === 0 && end === columns) return recipe;
  const column = byteLength(recipe.dtype, inner);
  const source = columns * column;
  const width = (end - start) * column;
  const read = async (first: number, last: number): Promise<Uint8Array> => {
    const out = Buffer.allocUnsafe((last - first) * width);
    await eachBand(recipe, first, last, (bytes, row, count) => {
      for (let i = 0; i < count; i++) {
        const from = i * source + start * column;
        out.set(bytes.subarray(from, from + width), (row - first + i) * width);
      }
    });
    return out;
  };
  const slice = make(recipe.name, recipe.dtype, [rows, end - start, ...inner], recipe.sources, undefined, read);
  return { ...slice, columns: { of: recipe, start, end } };
}

/** Side by side on axis 1; all parts share dtype, row count and inner shape. */
export function concatColumns(parts: readonly TensorRecipe[]): TensorRecipe {
  const [first] = parts;
  must(first !== undefined, "row of nothing");
  if (first === undefined || parts.length === 1) return first as TensorRecipe;
  const [rows = 0, , ...inner] = first.shape;
  for (const part of parts) {
    must(
      part.dtype === first.dtype && part.shape[0] === rows && part.shape.length === first.shape.length,
      `row of ${first.name} and ${part.name}`,
    );
  }
  const columns = parts.reduce((sum, part) => sum + (part.shape[1] ?? 0), 0);
  const shape = [rows, columns, ...inner];
  const width = rowBytes(first.dtype, shape);
  const read = async (start: number, end: number): Promise<Uint8Array> => {
    const out = Buffer.allocUnsafe((end - start) * width);
    let at = 0;
    for (const part of parts) {
      const size = rowBytes(part.dtype, part.shape);
      const bytes = await part.readRows(start, end);
      for (let i = 0; i < end - start; i++) out.set(bytes.subarray(i * size, (i + 1) * size), i * width + at);
      at += size;
    }
    return out;
  };
  const sources = [...new Set(parts.flatMap(part => part.sources))];
  return make(first.name, first.dtype, shape, sources, undefined, read);
}

/**
 * [R, C] → [C, R]. One output row is a column of the source, so each read passes over the whole source; a panel of
 * output rows is made at a time and kept, which bounds both memory (PANEL) and passes (size / PANEL).
 */
export function transpose(recipe: TensorRecipe): TensorRecipe {
  must(recipe.shape.length === 2, `transpose of ${recipe.name}`);
  const [rows = 0, columns = 0] = recipe.shape;
  const element = byteLength(recipe.dtype, []);
  const panelRows = Math.max(1, Math.floor(PANEL / Math.max(1, rows * element)));
  let panel: { start: number; end: number; bytes: Promise<Uint8Array> } | undefined;
  const read = async (start: number, end: number): Promise<Uint8Array> => {
    if (panel === undefined || start < panel.start || end > panel.end) {
      const last = Math.min(columns, Math.max(end, start + panelRows));
      panel = { start, end: last, bytes: readTransposed(recipe, start, last, element) };
    }
    const { bytes, start: first } = panel;
    if (end === columns) panel = undefined;
    return (await bytes).subarray((start - first) * rows * element, (end - first) * rows * element);
  };
  return make(recipe.name, recipe.dtype, [columns, rows], recipe.sources, undefined, read);
}

/** Columns whose elements of a few rows are still in a core's cache when the next row is read. */
const TILE = 64;

async function readTransposed(recipe: TensorRecipe, start: number, end: number, element: number): Promise<Uint8Array> {
  const [rows = 0, columns = 0] = recipe.shape;
  const out = new Uint8Array(Buffer.allocUnsafeSlow((end - start) * rows * element).buffer);
  await eachBand(recipe, 0, rows, (bytes, row, count) => {
    // Elements of 8 bytes are turned as two of 4.
    const width = Math.min(element, 4);
    const [source, target] = [elements(bytes, width), elements(out, width)];
    const parts = element / width;
    for (let tile = start; tile < end; tile += TILE)
      for (let r = 0; r < count; r++)
        for (let c = tile; c < Math.min(end, tile + TILE); c++)
          for (let part = 0; part < parts; part++)
            target[((c - start) * rows + row + r) * parts + part] = source[(r * columns + c) * parts + part] as number;
  });
  return out;
}

/** Bits of elements of 1, 2 or 4 bytes. */
function elements(bytes: Uint8Array, width: number): Uint8Array | Uint16Array | Uint32Array {
  if (width === 1) return bytes;
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % width === 0 ? bytes : new Uint8Array(bytes);
  return width === 2
    ? new Uint16Array(buffer, byteOffset, byteLength / 2)
    : new Uint32Array(buffer, byteOffset, byteLength / 4);
}

async function eachBand(
  recipe: TensorRecipe,
  first: number,
  last: number,
  use: (bytes: Uint8Array, row: number, count: number) => void,
): Promise<void> {
  must(last <= rowCount(recipe.shape), `row ${last} of ${recipe.name}`);
  const band = Math.max(1, Math.floor(BAND / Math.max(1, rowBytes(recipe.dtype, recipe.shape))));
  for (let row = first; row < last; row += band) {
    const count = Math.min(band, last - row);
    use(await recipe.readRows(row, row + count), row, count);
  }
}

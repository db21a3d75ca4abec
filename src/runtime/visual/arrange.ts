import { fail } from "../../diagnostics/index.ts";
import { arrangesFeatures, type FeatureRow, featureRows, type VisualTokenRule } from "../../vision/index.ts";
import type { PixelValues } from "../image/preprocess.ts";
import { concatenate, type Features } from "../prompt-table.ts";

/** What the visual engine gave of all tiles of some images. */
export interface EncodedTiles {
  /** One tile after the other: rows × hidden. */
  readonly features: Features;
  /** [hidden], of engines that have it. */
  readonly newline: Float32Array | undefined;
  /** Rows of a tile. */
  readonly perTile: number;
}

/**
 * The prompt table's rows, image by image, in the order of the rule: the tiles' features as they come where it has none.
 * @throws MmtrtError RUN011 when the visual engine's outputs are not those that the rule makes rows of.
 */
export function arrangeFeatures(
  rule: VisualTokenRule | undefined,
  images: readonly PixelValues[],
  { features, newline, perTile }: EncodedTiles,
): Features {
  if (rule === undefined || !arrangesFeatures(rule)) return features;
  const { hidden } = features;
  if (newline?.length !== hidden)
    return otherEngine(`image_newline of ${newline?.length ?? 0} values beside features of ${hidden}`);
  const arranged: Float32Array[] = [];
  let start = 0;
  for (const { tokens } of images) {
    if (tokens === undefined) throw new Error("images of a rule that arranges features come with their tokens");
    // Of such a rule each patch is a feature.
    if (tokens.patches !== tokens.tiles * perTile)
      return otherEngine(`${perTile} features of a tile, not ${tokens.patches / tokens.tiles}`);
    const end = start + tokens.tiles * perTile * hidden;
    const tiles = features.values.subarray(start, end);
    arranged.push(sumsOf(featureRows(rule, tokens) ?? [], tiles, newline));
    start = end;
  }
  const values = concatenate(arranged);
  return { rows: values.length / hidden, hidden, values, imageRows: arranged.map(({ length }) => length / hidden) };
}

function sumsOf(rows: readonly FeatureRow[], tiles: Float32Array, newline: Float32Array): Float32Array {
  const hidden = newline.length;
  const out = new Float32Array(rows.length * hidden);
  for (const [i, row] of rows.entries()) {
    const at = i * hidden;
    if (row === "newline") out.set(newline, at);
    else if (row.length === 1 && row[0] !== undefined) out.set(rowOf(tiles, row[0].row, hidden), at);
    else {
      for (const { row: from, weight } of row)
        for (let k = 0; k < hidden; k++)
          out[at + k] = (out[at + k] as number) + weight * (tiles[from * hidden + k] as number);
    }
  }
  return out;
}

function rowOf(values: Float32Array, row: number, hidden: number): Float32Array {
  return values.subarray(row * hidden, (row + 1) * hidden);
}

function otherEngine(gives: string): never {
  return fail({
    code: "RUN011",
    what: `the visual engine gives ${gives}`,
    at: "visual/model.onnx",
    why: "rows of the prompt table are put together of both by the rule that mmtrt.json has, which is of another engine",
    fix: "build the engine again",
  });
}

import type { LlmEngineConfig } from "../formats/engine-config.ts";
import type { PatchGrid } from "../vision/index.ts";
import type { Features } from "./prompt-table.ts";

/** Axes of M-RoPE: frame, row, column. */
export const AXES = 3;

/** Where a prompt's tokens stand for the rotary embedding of a decoder with three axes. */
export interface RopePositions {
  /** [tokens, 3]. */
  readonly axes: Int32Array;
  /** Position less index of the tokens after the prompt, on every axis; negative after large images. */
  readonly delta: number;
}

/** Axes of the decoder's `position_ids`: [3, batch, seq], or one of [batch, seq]. */
export function positionAxes({ io }: Pick<LlmEngineConfig, "io">): number {
  const shape = io.find(({ name }) => name === "position_ids")?.shape;
  return shape?.length === AXES ? AXES : 1;
}

/** What `position_ids` is for prompts with ids from `vocab` on as rows of `table`; undefined for a decoder of one axis. */
export function ropePositions(
  config: Pick<LlmEngineConfig, "io">,
  prompts: readonly (readonly number[])[],
  vocab: number,
  table: Features | undefined,
): readonly RopePositions[] | undefined {
  if (positionAxes(config) === 1) return undefined;
  const places = placesOf(table?.grids ?? []);
  return prompts.map(ids => positionsOf(ids, vocab, places));
}

/** Of a row of the prompt table: where its feature stands in its picture, and what the picture is. */
interface Place {
  readonly frame: number;
  readonly row: number;
  readonly col: number;
  /** Positions that the picture takes of those after it. */
  readonly extent: number;
  readonly isFirst: boolean;
}

function placesOf(grids: readonly PatchGrid[]): readonly Place[] {
  return grids.flatMap(({ frames, rows, cols }) =>
    Array.from({ length: frames * rows * cols }, (_, i) => ({
      frame: Math.floor(i / (rows * cols)),
      row: Math.floor(i / cols) % rows,
      col: i % cols,
      extent: Math.max(rows, cols),
      isFirst: i === 0,
    })),
  );
}

/**
 * A word takes the next position on all axes. A picture begins there with its first feature, counts frames, rows and columns on their
 * axes, and the words after it go on behind its longer side: transformers' get_rope_index.
 */
function positionsOf(ids: readonly number[], vocab: number, places: readonly Place[]): RopePositions {
  const axes = new Int32Array(AXES * ids.length);
  let [next, begin, most] = [0, 0, -1];
  for (const [i, id] of ids.entries()) {
    // Rows of features that came without grids count as words.
    const place = id < vocab ? undefined : places[id - vocab];
    if (place === undefined) axes.fill(next++, AXES * i, AXES * (i + 1));
    else {
      if (place.isFirst) {
        begin = next;
        next += place.extent;
      }
      axes.set([begin + place.frame, begin + place.row, begin + place.col], AXES * i);
    }
    most = Math.max(most, ...axes.subarray(AXES * i, AXES * (i + 1)));
  }
  return { axes, delta: most + 1 - ids.length };
}

/** Those of tokens `from` … `to`. */
export function slicePositions({ axes, delta }: RopePositions, from: number, to: number): RopePositions {
  return { axes: axes.subarray(AXES * from, AXES * to), delta };
}

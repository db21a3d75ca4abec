import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { EngineIo } from "../../../src/formats/engine-config.ts";
import { ropePositions, slicePositions } from "../../../src/runtime/positions.ts";

interface Case {
  readonly merge: number;
  readonly grids: readonly (readonly [number, number, number])[];
  /** 0: a word, 1: a feature. */
  readonly types: readonly (readonly number[])[];
  readonly positions: readonly (readonly number[])[][];
  readonly deltas: readonly number[];
}

const { prompts: CASES } = JSON.parse(readFileSync("test/fixtures/vision/patches.json", "utf8")) as {
  readonly prompts: readonly Case[];
};
const VOCAB = 19;

function positionIds(shape: readonly number[]): EngineIo {
  return { name: "position_ids", kind: "input", dtype: "int32", shape: [...shape], dims: [...shape] } as EngineIo;
}

const THREE_AXES = { io: [positionIds([3, -1, -1])] };

describe("Positions on three axes", () => {
  for (const { merge, grids, types, positions, deltas } of CASES) {
    it(`are those of transformers' get_rope_index, for grids ${grids.map(grid => grid.join(" × ")).join(", ")}`, () => {
      const features = grids.map(([frames, rows, cols]) => ({ frames, rows: rows / merge, cols: cols / merge }));
      const rows = features.reduce((sum, { frames, rows, cols }) => sum + frames * rows * cols, 0);
      let row = 0;
      const prompts = types.map(kinds => kinds.map(kind => (kind === 0 ? 5 : VOCAB + row++)));
      expect(row).toBe(rows);
      const table = { rows, hidden: 1, values: new Float32Array(rows), grids: features };
      const ours = ropePositions(THREE_AXES, prompts, VOCAB, table);
      expect(ours?.map(({ axes }) => [...axes])).toEqual(positions.map(tokens => tokens.flat()));
      expect(ours?.map(({ delta }) => delta)).toEqual(deltas);
    });
  }

  it("of a part of a prompt go on where the part begins", () => {
    const [whole] = ropePositions(THREE_AXES, [[1, 2, 3, 4]], VOCAB, undefined) ?? [];
    if (whole === undefined) throw new Error("no positions");
    expect([...slicePositions(whole, 1, 3).axes]).toEqual([1, 1, 1, 2, 2, 2]);
    expect(whole.delta).toBe(0);
  });

  it("are made for no decoder with one axis", () => {
    expect(ropePositions({ io: [positionIds([-1, -1])] }, [[1]], VOCAB, undefined)).toBeUndefined();
  });
});

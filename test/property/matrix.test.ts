import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { stepKey } from "../../src/build/cache/store.ts";
import { changesOf } from "../../src/build/changes.ts";
import type { Axis, MatrixFile } from "../../src/build/matrix/cell.ts";
import { expandMatrix } from "../../src/build/matrix/expand.ts";
import { shardOf } from "../../src/build/matrix/select.ts";
import type { Json } from "../../src/formats/json.ts";

const OPTIONS = ["tp_size", "max_batch_size", "max_input_len", "max_beam_width"] as const;

const axes: fc.Arbitrary<readonly Axis[]> = fc
  .record({
    models: fc.integer({ min: 1, max: 4 }),
    options: fc.dictionary(
      fc.constantFrom(...OPTIONS),
      fc.uniqueArray(fc.integer({ min: 1, max: 989 }), { minLength: 1, maxLength: 4 }),
    ),
  })
  .map(({ models, options }) => [
    { key: "model", values: Array.from({ length: models }, (_, i) => ({ value: `m${i}`, origin: "" })) },
    ...Object.entries(options).map(([key, values]) => ({ key, values: values.map(value => ({ value, origin: "" })) })),
  ]);

function fileOf(all: readonly Axis[]): MatrixFile {
  const none = { settings: [] };
  const models = new Map((all[0]?.values ?? []).map(({ value }) => [String(value), none]));
  return {
    ...{ file: "m.yaml", outputDir: "engines", cacheDir: "cache", lockFile: "lock", defaults: none, models },
    ...{ precisions: new Map(), targets: new Map(), axes: all, exclude: [], include: [], overrides: [] },
  };
}

describe("any matrix", () => {
  it("has as many cells as the product of its axes, each of another name and other values", () => {
    fc.assert(
      fc.property(axes, all => {
        const cells = expandMatrix(fileOf(all));
        expect(cells).toHaveLength(all.reduce((product, { values }) => product * values.length, 1));
        expect(new Set(cells.map(({ name }) => name)).size).toBe(cells.length);
        expect(new Set(cells.map(cell => JSON.stringify(cell.axes))).size).toBe(cells.length);
        for (const { axes: own, build } of cells)
          if (own.max_batch_size !== undefined) expect(build.max_batch_size).toBe(own.max_batch_size);
      }),
    );
  });

  it("loses exactly the cells of a condition when they are excluded", () => {
    fc.assert(
      fc.property(axes, fc.nat(), (all, pick) => {
        const axis = all[pick % all.length] as Axis;
        fc.pre(axis.values.length > 1);
        const value = axis.values[pick % axis.values.length]?.value ?? "";
        const whole = expandMatrix(fileOf(all));
        const less = expandMatrix({ ...fileOf(all), exclude: [{ wanted: { [axis.key]: [value] }, origin: "" }] });
        expect(less).toEqual(whole.filter(cell => cell.axes[axis.key] !== value));
      }),
    );
  });

  it("is dealt out to shards whole, in order, in parts that differ by one cell at most", () => {
    fc.assert(
      fc.property(fc.array(fc.nat()), fc.integer({ min: 1, max: 19 }), (cells, count) => {
        const shards = Array.from({ length: count }, (_, i) => shardOf(cells, { index: i + 1, count }));
        expect(shards.flat()).toEqual(cells);
        const sizes = shards.map(({ length }) => length);
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
      }),
    );
  });
});

describe("the key of any step", () => {
  it("is the same for the same inputs in any order, and another for any change, which is then named", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 3 }), fc.jsonValue({ maxDepth: 3 }), (a, b) => {
        const shuffled = (value: unknown): unknown =>
          Array.isArray(value)
            ? value.map(shuffled)
            : typeof value === "object" && value !== null
              ? Object.fromEntries(
                  Object.entries(value)
                    .reverse()
                    .map(([key, item]) => [key, shuffled(item)]),
                )
              : value;
        const plain = (value: unknown): Json => JSON.parse(JSON.stringify(value)) as Json;
        expect(stepKey("plan", { value: shuffled(a) })).toEqual(stepKey("plan", { value: a }));
        const same =
          JSON.stringify(stepKey("plan", { value: a }).inputs) === JSON.stringify(stepKey("plan", { value: b }).inputs);
        expect(stepKey("plan", { value: a }).key === stepKey("plan", { value: b }).key).toBe(same);
        if (!same) expect(changesOf([plain(a)], [plain(b)]).length).toBeGreaterThan(0);
      }),
      { examples: [[{}, { toString: null }]] },
    );
  });
});

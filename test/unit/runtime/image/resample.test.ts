import { describe, expect, it } from "vitest";
import { decodeImage } from "../../../../src/runtime/image/decode.ts";
import type { FilterName } from "../../../../src/runtime/image/filters.ts";
import { resizeWindow } from "../../../../src/runtime/image/resample.ts";
import { cases, fixture, inflate } from "./fixtures.ts";

interface ResizeCase {
  readonly file: string;
  readonly size: readonly [number, number];
  readonly filter: FilterName;
  readonly rgb: string;
}

function worst(actual: Uint8Array, expected: Uint8Array): number {
  expect(actual.length).toBe(expected.length);
  return actual.reduce((max, value, i) => Math.max(max, Math.abs(value - (expected[i] as number))), 0);
}

describe("resizing", () => {
  it.each(cases<ResizeCase>("resize.json"))(
    "equals Pillow bit for bit: $file to $size, $filter",
    async ({ file, size, filter, rgb }) => {
      const resized = resizeWindow(await decodeImage(fixture(file)), size[0], size[1], filter);
      expect(worst(resized.data, inflate(rgb))).toBe(0);
    },
  );

  it("computes a window of the resized picture without the rest, and with the same values", async () => {
    const image = await decodeImage(fixture("rgb-61x43.png"));
    for (const filter of ["bicubic", "nearest"] as const) {
      const whole = resizeWindow(image, 97, 71, filter);
      const part = resizeWindow(image, 97, 71, filter, { window: { left: 5, top: 11, right: 94, bottom: 29 } });
      const rows = Array.from({ length: 18 }, (_, y) =>
        whole.data.subarray(((y + 11) * 97 + 5) * 3, ((y + 11) * 97 + 94) * 3),
      );
      expect(worst(part.data, Uint8Array.from(Buffer.concat(rows)))).toBe(0);
    }
  });
});

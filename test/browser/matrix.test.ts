import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { CellResult, MatrixResult, StepResult } from "../../src/build/matrix/events.ts";
import { matrixPage } from "../../src/report/matrix/page.ts";
import { findChromium, openPage, type Shown, screenshot } from "../support/chromium.ts";

const chromium = findChromium();
const skipped = chromium === undefined ? " (skipped: no chromium on PATH and MMTRT_TEST_CHROMIUM is not set)" : "";

const NAMES = ["llava-float16-ampere", "llava-float16-blackwell", "opt-int8_wo-ampere"] as const;

/** Two workers, three cells, one of which failed with a text that would be markup if nobody escaped it. */
const RESULT: MatrixResult = {
  ...{ file: "matrix.yaml", version: "0.1.0", workers: 2, shard: "1/2", seconds: 19 },
  cells: NAMES.map(
    (name, i): CellResult => ({
      ...{ name, axes: { model: name.split("-")[0] ?? "", target: name.split("-")[2] ?? "" } },
      ...{ state: i === 2 ? "failed" : "built", dir: name, seconds: 9.5, warnings: [] },
      ...{ engine_bytes: i === 2 ? 0 : 19 * 2 ** 20, memory_bytes: 989 * 2 ** 20 },
      problems: i < 2 ? [] : [{ code: "TRT011", what: "<b>ended</b> & gone", at: "a", why: "b", fix: "c" }],
    }),
  ),
  steps: [
    step("convert", "convert", NAMES.slice(0, 2), 0, 3, 0),
    step("engine", "engine visual", NAMES.slice(0, 1), 3, 9, 0),
    step("engine", "engine llm/rank0", NAMES.slice(1, 2), 3, 16, 1),
    { ...step("engine", "engine llm/rank0", NAMES.slice(2), 12, 7, 0), state: "failed" },
  ],
};

function step(
  kind: StepResult["kind"],
  label: string,
  cells: readonly string[],
  started: number,
  seconds: number,
  slot: number,
): StepResult {
  const made = { state: "done", attempts: 1, bytes: 989, peak_bytes: null, reason: "max_seq_len 19 → 989" } as const;
  return { kind, label, key: `${label}${cells[0]}`, cells, started, seconds, slot, ...made };
}

describe.skipIf(chromium === undefined)(`the page of a matrix in a browser${skipped}`, () => {
  let dir: string;
  let page: string;
  let shown: Shown;

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "mmtrt-matrix-"));
    page = join(dir, "matrix.html");
    await writeFile(page, matrixPage(RESULT, new Date("2026-01-02T03:04:05Z")));
    shown = openPage(chromium ?? "", page);
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));

  it("shows sizes, times and what every worker did, in both widths", () => {
    const figures = [...shown.dom.matchAll(/<figure role="img" aria-label="([^"]*)">.*?<\/figure>/gs)];
    expect(figures.map(([, label]) => label)).toEqual([
      "Size of the engines of a cell",
      "Steps of a cell by kind",
      "What every worker did when",
    ]);
    for (const [figure] of figures) {
      const sizes = [...figure.matchAll(/<svg width="(\d+)" height="(\d+)"/g)].map(([, width]) => Number(width));
      expect(sizes).toEqual([880, 340]);
    }
    // A box for each step that ran, on its worker's lane: the second worker's one is lower.
    const lanes = [
      ...(figures[2]?.[0] ?? "").matchAll(/<path d="M([\d.]+) ([\d.]+)[^"]*"[^>]*fill="var\(--series-\d\)"/g),
    ];
    expect(lanes).toHaveLength(8);
    const heights = lanes.slice(0, 4).map(([, , y]) => Number(y));
    expect(heights[2]).toBeGreaterThan(heights[1] ?? Number.NaN);
    expect(heights[0]).toBe(heights[1]);
  });

  it("has every cell, its problem as text, and nothing from elsewhere", async () => {
    for (const name of NAMES) expect(shown.dom).toContain(name);
    expect(shown.dom).toContain("&lt;b&gt;ended&lt;/b&gt; &amp; gone");
    expect(shown.dom).toContain("max_seq_len 19 → 989");
    expect(shown.console).toEqual([]);
    expect((await readFile(page, "utf8")).match(/(?:src|href)=|url\(|@import|<script|<link/g)).toBeNull();
  });

  it.each([
    ["on a desk", { width: 1000, height: 1800 }, 255],
    ["in the dark", { width: 1000, height: 1800, dark: true }, 30],
    ["on a phone", { width: 500, height: 1800 }, 255],
  ] as const)("is drawn %s with bars on its own ground and nothing over the edge", async (name, shot, ground) => {
    const image = join(dir, `${name}.png`);
    screenshot(chromium ?? "", page, image, shot);
    const { data, info } = await sharp(image).removeAlpha().raw().toBuffer({ resolveWithObject: true });
    expect([info.width, info.height]).toEqual([shot.width, shot.height]);
    expect(Math.abs((data[0] ?? 0) - ground)).toBeLessThan(16);
    let blue = 0;
    for (let i = 0; i < data.length; i += 3) if ((data[i + 2] ?? 0) - (data[i] ?? 0) > 100) blue++;
    expect(blue).toBeGreaterThan(2000);
    for (let y = 0; y < info.height; y++) expect(data[(y * info.width + info.width - 1) * 3]).toBe(data[0]);
  });
});

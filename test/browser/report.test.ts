import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { convertFixture } from "../support/checkpoints.ts";
import { findChromium, openPage, type Shown, screenshot } from "../support/chromium.ts";
import { Rig } from "../support/rig.ts";

const chromium = findChromium();
const skipped = chromium === undefined ? " (skipped: no chromium on PATH and MMTRT_TEST_CHROMIUM is not set)" : "";

describe.skipIf(chromium === undefined)(`the page of --report in a browser${skipped}`, () => {
  const rig = new Rig();
  const page = join(rig.dir, "report.html");
  let dir: string;
  let shown: Shown;

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "mmtrt-report-"));
    const checkpoint = await convertFixture("llava_mqa", join(dir, "checkpoint"));
    const limits = ["--max_batch_size", "3", "--max_seq_len", "61", "--max_input_len", "41"];
    const built = await rig.run([
      ...["build", "--checkpoint_dir", checkpoint, "--output_dir", "engines", "--report", page],
      ...limits,
    ]);
    expect(built).toMatchObject({ code: 0 });
    shown = openPage(chromium ?? "", page);
  });
  afterAll(async () => {
    rig.close();
    await rm(dir, { recursive: true, force: true });
  });

  it("shows every chart in both widths, with a size", () => {
    const figures = [...shown.dom.matchAll(/<figure role="img" aria-label="([^"]*)">.*?<\/figure>/gs)];
    expect(figures.map(([, label]) => label)).toEqual([
      "Memory per GPU",
      "llm/rank0: context, generation",
      "visual: images",
      "Nodes of llm/rank0 by operator",
      "Nodes of visual by operator",
      "Weights of llm/rank0 by module, float32",
      "Weights of visual by module, float32",
      expect.stringMatching(/^Steps of the build, .* in all$/),
    ]);
    for (const [figure] of figures) {
      const sizes = [...figure.matchAll(/<svg width="(\d+)" height="(\d+)"/g)].map(([, w, h]) => [
        Number(w),
        Number(h),
      ]);
      expect(sizes.map(([width]) => width)).toEqual([880, 340]);
      for (const [, height = 0] of sizes) expect(height).toBeGreaterThan(40);
      expect(figure.match(/<path[^>]* d="M/g)?.length).toBeGreaterThan(1);
    }
  });

  it("asks for nothing from elsewhere and says nothing on the console", async () => {
    expect(shown.console).toEqual([]);
    const text = await readFile(page, "utf8");
    expect(text.match(/(?:src|href)=|url\(|@import|<script|<link/g)).toBeNull();
  });

  it.each([
    ["on a desk", { width: 1000, height: 2400 }, 255],
    ["in the dark", { width: 1000, height: 2400, dark: true }, 30],
    ["on a phone", { width: 500, height: 2400 }, 255],
  ] as const)("is drawn %s with text and bars on its own ground", async (name, shot, ground) => {
    const image = join(dir, `${name}.png`);
    screenshot(chromium ?? "", page, image, shot);
    const { data, info } = await sharp(image).removeAlpha().raw().toBuffer({ resolveWithObject: true });
    expect([info.width, info.height]).toEqual([shot.width, shot.height]);
    expect(Math.abs((data[0] ?? 0) - ground)).toBeLessThan(16);
    // Blue bars, and that nothing hangs over the right edge: the last column is all ground.
    let blue = 0;
    for (let i = 0; i < data.length; i += 3) if ((data[i + 2] ?? 0) - (data[i] ?? 0) > 100) blue++;
    expect(blue).toBeGreaterThan(2000);
    for (let y = 0; y < info.height; y++) expect(data[(y * info.width + info.width - 1) * 3]).toBe(data[0]);
  });
});

import { mkdtempSync, rmSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import { searchFormat } from "../../../src/build/quantize/search.ts";
import { ROOT } from "../../support/sources.ts";

/** Right answers of ten by what the checkpoint's directory is called; the rest of the search is real. */
const RIGHT: Readonly<Record<string, number>> = { float: 10, int4: 5, int4_g32: 8, int4_g16: 9, int8: 10 };
vi.mock("../../../src/build/quantize/answers.ts", () => ({
  accuracyOf: async (dir: string) => {
    const correct = RIGHT[basename(dir)] ?? Number.NaN;
    return { accuracy: correct / 10, correct, total: 10 };
  },
}));

const root = mkdtempSync(join(tmpdir(), "mmtrt-search-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const search = (name: string, loss: number): ReturnType<typeof searchFormat> =>
  searchFormat({
    convert: {
      modelDir: join(ROOT, "test/fixtures/models/llava-shapes"),
      outputDir: join(root, name),
      dtype: "float16",
      parallel: { tpSize: 1, ppSize: 1, parallelEmbedding: false, embeddingShardingDim: 0, shareEmbedding: false },
      workers: 1,
      strict: false,
      hash: false,
      version: "0.0.0-test",
    },
    formats: ["int8", "int4_g16", "int4_g128", "int4", "int4_g32"],
    quantization: {},
    least: float => float - loss,
    answers: {} as Parameters<typeof searchFormat>[0]["answers"],
  });

describe("the search of a format", () => {
  it("passes over smaller ones that lose too much or do not fit, and leaves the first that is good enough", async () => {
    const result = await search("chosen", 0.1);
    expect(result.chosen).toBe("int4_g16");
    expect(result.trials.map(({ format, kept }) => [format, kept])).toEqual([
      ["int4", false],
      ["int4_g32", false],
      ["int4_g16", true],
    ]);
    expect(result.refused.map(({ format }) => format)).toEqual(["int4_g128"]);
    const config = JSON.parse(await readFile(join(root, "chosen/config.json"), "utf8")) as {
      quantization: { group_size: number };
    };
    expect(config.quantization.group_size).toBe(16);
    expect(await readdir(root)).toEqual(["chosen"]);
  });

  it("leaves nothing where no format is good enough", async () => {
    const result = await search("none", -0.1);
    expect(result.chosen).toBeNull();
    expect(result.trials.map(({ kept }) => kept)).toEqual([false, false, false, false]);
    expect(await readdir(root)).not.toContain("none");
  });
});

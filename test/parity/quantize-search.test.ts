import { access, readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { accuracyOf } from "../../src/build/quantize/answers.ts";
import { compareWeights } from "../../src/build/quantize/compare.ts";
import { type Format, type SearchRequest, searchFormat } from "../../src/build/quantize/search.ts";
import type { ConvertRequest } from "../../src/checkpoint/convert.ts";
import { NO_QUANTIZATION } from "../../src/checkpoint/quantization-options.ts";
import { openCheckpoint } from "../../src/checkpoint/read.ts";
import { renderQuantizeReport } from "../../src/report/quantize.ts";
import type { AccuracyCase } from "../../src/runtime/accuracy.ts";
import { convertTo, Workspace } from "../support/pipeline.ts";
import { fixtureDir } from "./runtime-fixtures.ts";

const work = new Workspace();
afterAll(() => work.clean());

interface Answer {
  readonly image: string;
  readonly question: string;
  readonly text: string;
}

async function casesOf(name: string, first: number, count: number): Promise<AccuracyCase[]> {
  const heldout = join(fixtureDir(`models/${name}`), "heldout");
  const { answers } = JSON.parse(await readFile(join(heldout, "expected_hf.json"), "utf8")) as { answers: Answer[] };
  return answers.slice(first, first + count).map(({ image, question, text }, i) => ({
    ...{ line: i + 1, images: [join(heldout, image)], question, expected: text },
  }));
}

async function request(name: string, cases: readonly AccuracyCase[], formats: readonly Format[]) {
  const convert: ConvertRequest = {
    ...{ modelDir: fixtureDir(`models/${name}`), outputDir: join(await work.dir(), "checkpoint"), dtype: "float32" },
    parallel: { tpSize: 1, ppSize: 1, parallelEmbedding: false, embeddingShardingDim: 0, shareEmbedding: false },
    ...{ workers: 1, strict: false, hash: false, version: "0.0.0-test", origin: key => `--${key}` },
  };
  const answers = {
    ...{ cases, at: "test", maxNewTokens: 30, batchSize: 5, threads: 2, version: "0.0.0-test" },
    signal: new AbortController().signal,
  };
  const given: SearchRequest = { convert, formats, quantization: {}, least: float => float, answers };
  return given;
}

describe("the search for a format", { timeout: 120_000 }, () => {
  it("takes the smallest that answers as well as float, and tries no larger one", async () => {
    const given = await request("llava-shapes", await casesOf("llava-shapes", 0, 10), ["int8", "int4"]);
    const { float, trials, chosen, refused } = await searchFormat(given);
    expect([float.accuracy, chosen, refused]).toEqual([1, "int4", []]);
    expect(trials.map(({ format, accuracy, kept }) => [format, accuracy, kept])).toEqual([["int4", 1, true]]);
    const [trial] = trials;
    expect(trial?.layers).toHaveLength(20);
    expect(trial?.bytes).toBeLessThan(0.5 * (trial?.float_bytes ?? 0));
    const { outputDir } = given.convert;
    const checkpoint = await openCheckpoint(outputDir);
    expect(checkpoint.quantization?.quantAlgo).toBe("W4A16");
    await checkpoint.close();
    expect(await readdir(dirname(outputDir))).toEqual(["checkpoint"]);
  });

  it("passes over formats that the model cannot have and those that answer worse, and then leaves nothing", async () => {
    // Of these ten the trained model answers one differently in INT4.
    const cases = await casesOf("blip2-opt-shapes", 170, 10);
    const given = await request("blip2-opt-shapes", cases, ["int4_g128", "int4"]);
    const { float, trials, chosen, refused } = await searchFormat(given);
    expect([float.accuracy, chosen]).toEqual([1, null]);
    expect(refused.map(({ format, problems }) => [format, problems[0]?.code])).toEqual([["int4_g128", "CKP083"]]);
    expect(trials.map(({ format, accuracy, kept }) => [format, accuracy, kept])).toEqual([["int4", 0.9, false]]);
    await expect(access(given.convert.outputDir)).rejects.toThrow();
    const page = renderQuantizeReport({
      ...{ version: "0", model: "<b>", date: new Date(0), trials, chosen, least: 1, float },
      refused: [["int4_g128", "a & b"]],
    });
    expect(page).toContain("Quantization of &lt;b&gt;");
    expect(page).toContain("int4_g128: a &amp; b");
    expect(page).toContain("layers.3.mlp.proj");
    expect(page.match(/<svg /g)).toHaveLength(2);
    expect(page).not.toMatch(/<script|https?:\/\/(?!www\.w3\.org)/);
  });
});

describe("a checkpoint beside its model", { timeout: 120_000 }, () => {
  it("has errors of every layer on every rank, 16 times smaller in INT8 than in INT4", async () => {
    const { convert } = await request("llava-shapes", [], []);
    const parallel = { ...convert.parallel, tpSize: 2 };
    const errors = async (weight_only_precision: "int8" | "int4") => {
      const quantization = { ...NO_QUANTIZATION, use_weight_only: true, weight_only_precision };
      const dir = await convertTo(work, convert.modelDir as string, "float16", { quantization, parallel });
      return compareWeights(convert, dir);
    };
    const [int8, int4] = [await errors("int8"), await errors("int4")];
    expect(int8.layers).toHaveLength(40);
    expect(new Set(int8.layers.map(({ rank }) => rank))).toEqual(new Set([0, 1]));
    for (const [i, { module, relative }] of int8.layers.entries()) {
      const other = int4.layers[i];
      expect(other?.module).toBe(module);
      expect((other?.relative ?? 0) / relative).toBeGreaterThan(12);
      expect((other?.relative ?? 0) / relative).toBeLessThan(20);
    }
  });

  it("answers in an engine of its own", async () => {
    const given = await request("llava-shapes", await casesOf("llava-shapes", 20, 5), []);
    const dir = await convertTo(work, given.convert.modelDir as string, "float32");
    const { accuracy, total } = await accuracyOf(dir, join(await work.dir(), "engine"), given.answers);
    expect([accuracy, total]).toEqual([1, 5]);
  });
});

import { existsSync } from "node:fs";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { calibrate } from "../../src/build/calibrate.ts";
import type { ConvertRequest } from "../../src/checkpoint/convert.ts";
import { NO_QUANTIZATION } from "../../src/checkpoint/quantization-options.ts";
import { Workspace } from "../support/pipeline.ts";
import { readReference } from "../support/reference.ts";
import { fixtureDir } from "./runtime-fixtures.ts";

const work = new Workspace();
afterAll(() => work.clean());

async function request(modelDir: string, given: Partial<typeof NO_QUANTIZATION>): Promise<ConvertRequest> {
  return {
    modelDir,
    outputDir: join(await work.dir(), "out"),
    dtype: "auto",
    parallel: { tpSize: 1, ppSize: 1, parallelEmbedding: false, embeddingShardingDim: 0, shareEmbedding: false },
    quantization: { ...NO_QUANTIZATION, ...given },
    workers: 1,
    strict: false,
    hash: false,
    version: "0.0.0-test",
  };
}

/** `model.language_model.layers.0…` and `model.layers.0…` are the same layer. */
const tail = (name: string): string => name.replace(/^.*?((layers|h)\.\d+\.)/, "$1");

async function expectSameRanges(file: string, reference: string, tolerance: number): Promise<void> {
  const wanted = new Map([...(await readReference(reference))].map(([name, tensor]) => [tail(name), tensor]));
  const measured = [...(await readReference(file))].filter(([name]) => /\.[xy]$/.test(name));
  expect(measured.map(([name]) => tail(name)).sort()).toEqual(
    [...wanted.keys()].filter(name => /\.[xy]$/.test(name) && /^(layers|h)\./.test(name)).sort(),
  );
  for (const [name, { values }] of measured) {
    const expected = wanted.get(tail(name))?.values as ArrayLike<number>;
    expect(values.length).toBe(expected.length);
    const largest = Math.max(...Array.from(expected));
    for (let i = 0; i < values.length; i++) {
      const off = Math.abs((values[i] as number) - (expected[i] as number));
      expect(off, `${name}[${i}]`).toBeLessThanOrEqual(tolerance * largest);
    }
  }
}

const CASES: readonly (readonly [string, string])[] = [
  ["parity/llama_tied_bias", "llama_tied_bias"],
  ["parity/gpt2_usual", "gpt2_usual"],
  ["parity/opt_pre", "opt_pre"],
  ["parity/qwen2_mqa", "qwen2_mqa"],
  ["models/llava-shapes", "llava-shapes"],
];

describe("calibration", () => {
  it.each(CASES)("of %s measures what hooks of transformers see", async (model, name) => {
    const calib_dataset = fixtureDir(`quantize/${name}.jsonl`);
    const file = await calibrate(await request(fixtureDir(model), { calib_dataset }), { rows: 0, threads: 1 });
    await expectSameRanges(file, fixtureDir(`quantize/${name}.safetensors`), 1e-4);
  });

  it("continues where an aborted run stopped, with the same ranges, and leaves nothing but the file", async () => {
    const calib_dataset = fixtureDir("quantize/opt_pre.jsonl");
    const asked = await request(fixtureDir("parity/opt_pre"), { calib_dataset });
    const stop = new AbortController();
    const seen: number[] = [];
    const first = calibrate(
      { ...asked, signal: stop.signal },
      {
        rows: 2,
        threads: 1,
        onProgress(done) {
          if (done === 2) stop.abort();
        },
      },
    );
    await expect(first).rejects.toThrow(/abort/i);
    expect(existsSync(`${asked.outputDir}.calibration`)).toBe(true);
    const file = await calibrate(asked, { rows: 2, threads: 1, onProgress: done => seen.push(done) });
    expect(seen).toEqual([3]);
    expect(existsSync(`${asked.outputDir}.calibration`)).toBe(false);
    await expectSameRanges(file, fixtureDir("quantize/opt_pre.safetensors"), 1e-4);
    const tensors = await readReference(file);
    // Two rows of each text, one of the text that has one token only.
    const [rows] = [...tensors].filter(([name]) => name.endsWith("q_proj.rows")).map(([, tensor]) => tensor.shape);
    expect(rows?.[0]).toBe(5);
    seen.length = 0;
    await calibrate(asked, { rows: 2, threads: 1, onProgress: done => seen.push(done) });
    expect(seen).toEqual([]);
  });

  it("names every line of a set that it cannot use", async () => {
    const dir = await work.dir();
    await writeFile(join(dir, "bad.jsonl"), '{"text": 5}\n[1, 2]\n[-1]\n"words"\n7\n');
    const asked = await request(fixtureDir("parity/opt_pre"), { calib_dataset: join(dir, "bad.jsonl") });
    const failure = calibrate(asked, { rows: 0, threads: 1 });
    await expect(failure).rejects.toMatchObject({
      problems: [1, 3, 5].map(line => ({ code: "CKP087", at: `${join(dir, "bad.jsonl")}:${line}` })),
    });
  });

  const goldens = fileURLToPath(new URL("../../../shared/goldens/", import.meta.url));
  it("measures what TensorRT-LLM's converter did on its calibration ids, in half precision", async context => {
    if (!existsSync(goldens)) context.skip("there is no shared/goldens beside the checkout");
    const dir = await work.dir();
    await mkdir(dir, { recursive: true });
    await copyFile(join(goldens, "hf", "calib_ids.json"), join(dir, "ids.json"));
    expect((await readFile(join(dir, "ids.json"), "utf8")).length).toBeGreaterThan(0);
    const asked = await request(join(goldens, "hf", "llama_wo"), { calib_dataset: join(dir, "ids.json") });
    const file = await calibrate(asked, { rows: 0, threads: 1 });
    await expectSameRanges(file, join(goldens, "out", "llama_wo-sq05", "act_range.safetensors"), 4e-3);
  });
});

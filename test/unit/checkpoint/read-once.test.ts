import { existsSync, readFileSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { convert } from "../../../src/checkpoint/convert.ts";
import { publishedModels } from "../../../src/checkpoint/published.ts";
import { synth } from "../../../src/checkpoint/synth.ts";
import { reduced, withLanguageSizes } from "../../../src/checkpoint/synth-sizes.ts";
import { Workspace } from "../../support/pipeline.ts";

const IO = "/proc/self/io";
const work = new Workspace();
afterAll(() => work.clean());

/** Bytes that this process has asked the system to read, from any file, cached or not. */
function bytesRead(): number {
  return Number(/^rchar: (\d+)$/m.exec(readFileSync(IO, "utf8"))?.[1]);
}

interface Source {
  readonly dir: string;
  readonly bytes: number;
  /** Read besides, to know the files again: 64 pieces of 64 KiB of each, at most the whole of it. */
  readonly samples: number;
}

async function model(): Promise<Source> {
  const dir = join(await work.dir(), "model");
  const config = (await publishedModels()).find(({ name }) => name === "llama-3-8b")?.config ?? {};
  const small = withLanguageSizes(
    reduced(config, { layers: 4, shrink: 4 }),
    { vocab_size: 4096, num_key_value_heads: 8 },
    key => `--${key}`,
  );
  await synth({ config: small, dtype: "float16", seed: 19, maxShardSize: 19e6, outputDir: dir });
  const weights = (await readdir(dir)).filter(name => name.endsWith(".safetensors"));
  const sizes = await Promise.all(weights.map(async name => (await stat(join(dir, name))).size));
  const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);
  return { dir, bytes: sum(sizes), samples: sum(sizes.map(size => Math.min(size, 64 * 64 * 1024))) };
}

describe.skipIf(!existsSync(IO))("a conversion for eight GPUs", () => {
  const source = model();

  it.each([
    ["one worker", { tpSize: 8, ppSize: 1 }, 1],
    ["four workers", { tpSize: 8, ppSize: 1 }, 4],
    ["four workers and pipeline stages", { tpSize: 4, ppSize: 2 }, 4],
  ] as const)("reads each byte of its source once with %s", async (_, split, workers) => {
    const { dir, bytes, samples } = await source;
    expect(bytes).toBeGreaterThan(100e6);
    const parallel = { ...split, parallelEmbedding: true, embeddingShardingDim: 0, shareEmbedding: false } as const;
    const run = async (): Promise<number> => {
      const outputDir = join(await work.dir(), "checkpoint");
      const before = bytesRead();
      const plain = { modelDir: dir, outputDir, dtype: "auto", strict: false, hash: false, version: "0" } as const;
      await convert({ ...plain, parallel, workers, origin: key => `--${key}` });
      return bytesRead() - before;
    };
    // The first loads code as well.
    await run();
    const read = await run();
    expect((read - samples) / bytes).toBeGreaterThan(1);
    expect((read - samples) / bytes).toBeLessThan(1.02);
  });
});

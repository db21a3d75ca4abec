import { cp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compareDirectories } from "../../../../src/build/diff/directories.ts";
import { FilePool } from "../../../../src/formats/file.ts";
import { openSafetensors } from "../../../../src/formats/safetensors.ts";
import { buildTo, convertTo, Workspace } from "../../../support/pipeline.ts";
import { ROOT } from "../../../support/sources.ts";

const never = new AbortController().signal;

describe("the comparison of two directories", () => {
  const work = new Workspace();
  let checkpoint: string;
  let engine: string;

  beforeAll(async () => {
    checkpoint = await convertTo(work, join(ROOT, "test/fixtures/models/gpt2-shapes"), "float32");
    engine = await buildTo(work, checkpoint, { max_seq_len: 61, max_input_len: 41 });
  });
  afterAll(() => work.clean());

  const copyOf = async (dir: string): Promise<string> => {
    const copy = join(await work.dir(), "copy");
    await cp(dir, copy, { recursive: true });
    return copy;
  };
  const differences = async (a: string, b: string): Promise<readonly string[]> =>
    (await compareDirectories(a, b, never)).differences.map(({ where, what }) => `${where}: ${what}`);

  it("finds a copy equal, byte for byte", async () => {
    const compared = await compareDirectories(engine, await copyOf(engine), never);
    expect(compared).toMatchObject({ kind: "engine", differences: [] });
    expect(compared.same).toBeGreaterThan(5);
  });

  it("names the options, profiles and files that two builds differ in", async () => {
    const other = await buildTo(work, checkpoint, { max_seq_len: 61, max_input_len: 38, max_batch_size: 3 });
    const found = await differences(engine, other);
    expect(found).toContain("mmtrt.json: max_batch_size 1 → 3");
    expect(found).toContain("mmtrt.json: max_input_len 41 → 38");
    expect(found).toContain("llm/config.json: build_config.max_batch_size 1 → 3");
    // One sequence or several is the range of a size: the graph and the weights are the same.
    expect(found.filter(line => /\.(onnx|safetensors):/.test(line))).toEqual([]);
  });

  it("counts the values of a tensor that differ, and says by how much", async () => {
    const other = await copyOf(checkpoint);
    const file = join(other, "rank0.safetensors");
    const pool = new FilePool();
    const [name, tensor] =
      [...(await openSafetensors(pool, file)).tensors].find(([, { dtype }]) => dtype === "float32") ?? [];
    await pool.close();
    const bytes = await readFile(file);
    const at = tensor?.range?.offset ?? Number.NaN;
    bytes.writeFloatLE(bytes.readFloatLE(at) + 0.5, at);
    bytes.writeFloatLE(Number.NaN, at + 8);
    await writeFile(file, bytes);
    const count = tensor?.shape.reduce((product, size) => product * size, 1);
    expect(await differences(checkpoint, other)).toEqual([
      `rank0.safetensors: tensor ${name}: 2 of ${count} values differ, by at most 0.5`,
    ]);
  });

  it("names dtypes of tensors, files that one lacks, and another graph", async () => {
    const half = await convertTo(work, join(ROOT, "test/fixtures/models/gpt2-shapes"), "float16");
    const other = await buildTo(work, half, { max_seq_len: 61, max_input_len: 41 });
    await rm(join(other, "tokenizer/tokenizer.json"));
    const found = await differences(engine, other);
    expect(found).toContain(`tokenizer/tokenizer.json: only in ${engine}`);
    expect(found.some(line => /^llm\/rank0\.safetensors: tensor .* float32 \[.*\] → float16 \[/.test(line))).toBe(true);
    expect(found.some(line => /^llm\/rank0\.onnx: first other node, number \d+: /.test(line))).toBe(true);
    expect(found.some(line => /^llm\/rank0\.onnx: operator \w+ \d+ → \d+ times/.test(line))).toBe(true);
  });

  it("refuses an engine beside a checkpoint, and what is neither", async () => {
    await expect(compareDirectories(engine, checkpoint, never)).rejects.toThrow(
      /MTX013.*kind engine.*kind checkpoint/s,
    );
    const other = await work.dir();
    await writeFile(join(other, "mmtrt.json"), '{"kind":"stone"}');
    await expect(compareDirectories(other, other, never)).rejects.toThrow(/MTX013.*"stone"/s);
  });
});

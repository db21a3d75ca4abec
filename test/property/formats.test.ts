import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { openHf, openMeta } from "../../src/checkpoint/open.ts";
import { MmtrtError } from "../../src/diagnostics/index.ts";
import { FilePool } from "../../src/formats/file.ts";
import { openGgufFile } from "../../src/formats/gguf.ts";
import { parseJson } from "../../src/formats/json.ts";
import { openSafetensors, writeSafetensors } from "../../src/formats/safetensors.ts";
import { openTorch } from "../../src/formats/torch.ts";
import {
  byteLength,
  DTYPES,
  type Dtype,
  rowBytes,
  rowCount,
  type StoredTensor,
  type TensorRecipe,
} from "../../src/tensor/index.ts";
import { FIXTURES, tempDir } from "../unit/formats/fixtures.ts";

let dir = "";
beforeAll(async () => {
  dir = await tempDir();
});

type Open = (pool: FilePool, path: string) => Promise<ReadonlyMap<string, StoredTensor>>;

const FORMATS: readonly (readonly [fixture: string, open: Open])[] = [
  ["dtypes.safetensors", async (pool, path) => (await openSafetensors(pool, path)).tensors],
  ["dtypes.bin", openTorch],
  ["legacy.bin", openTorch],
  ["strided.bin", openTorch],
  ["protocol4.bin", openTorch],
  ["types.gguf", async (pool, path) => (await openGgufFile(pool, path)).tensors],
  ["llama31.gguf", openWhole],
  ["spm.gguf", openWhole],
];

/** With config, names and tokenizer too. */
async function openWhole(_pool: FilePool, path: string): Promise<ReadonlyMap<string, StoredTensor>> {
  const checkpoint = await openHf(path);
  try {
    for (const tensor of checkpoint.tensors.values()) await readAll(tensor);
    return new Map();
  } finally {
    await checkpoint.close();
  }
}

/** A well-formed tensor gives exactly the bytes of its shape. */
async function readAll(tensor: StoredTensor): Promise<void> {
  const rows = rowCount(tensor.shape);
  const middle = Math.floor(rows / 2);
  const [head, tail] = [await tensor.readRows(0, middle), await tensor.readRows(middle, rows)];
  expect(head.byteLength + tail.byteLength).toBe(byteLength(tensor.dtype, tensor.shape));
  expect(head.byteLength).toBe(middle * rowBytes(tensor.dtype, tensor.shape));
}

/** Opens and reads damaged bytes: a problem or tensors, soon, and nothing else. Gives how it ended. */
async function survive(open: Open, bytes: Uint8Array): Promise<"read" | "refused"> {
  const path = join(dir, "damaged");
  await writeFile(path, bytes);
  const pool = new FilePool();
  const begin = performance.now();
  try {
    for (const tensor of (await open(pool, path)).values()) await readAll(tensor);
    return "read";
  } catch (error) {
    if (!(error instanceof MmtrtError)) throw error;
    for (const problem of error.problems) expect(`${problem.code} ${problem.at}`).toMatch(/^CKP\d{3} .+/);
    return "refused";
  } finally {
    await pool.close();
    expect(performance.now() - begin).toBeLessThan(5000);
  }
}

describe.each(FORMATS)("%s, damaged", (fixture, open) => {
  const whole = readFileSync(join(FIXTURES, fixture));

  it("is refused with a problem wherever it is cut", async () => {
    // A GGUF file ends with up to 31 bytes of padding that hold nothing.
    const last = whole.length - (fixture.endsWith(".gguf") ? 32 : 1);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: last }), async length => {
        expect(await survive(open, whole.subarray(0, length))).toBe("refused");
      }),
      { numRuns: 100 },
    );
  });

  it("gives a problem or whole tensors whichever bytes are changed", async () => {
    const place = fc.integer({ min: 0, max: whole.length - 1 });
    const value = fc.oneof(fc.integer({ min: 0, max: 255 }), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff));
    const changes = fc.array(fc.tuple(place, value), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(changes, async list => {
        const bytes = Buffer.from(whole);
        for (const [at, byte] of list) bytes[at] = byte;
        await survive(open, bytes);
      }),
      { numRuns: 200 },
    );
  });
});

describe("every byte of a header", () => {
  it.each([
    ["parameters.bin", openTorch, 2491],
    ["dtypes.safetensors", FORMATS[0]?.[1] as Open, 1100],
    ["llama31.gguf", openWhole, 700],
  ] as const)("of %s may have a bit turned", async (fixture, open, end) => {
    const whole = readFileSync(join(FIXTURES, fixture));
    let refused = 0;
    for (let at = 0; at < Math.min(end, whole.length); at++) {
      const bytes = Buffer.from(whole);
      bytes[at] = (whole[at] as number) ^ (1 << (at % 8));
      if ((await survive(open, bytes)) === "refused") refused++;
    }
    expect(refused).toBeGreaterThan(100);
  });
});

it("params.json of any content gives a problem or a model", async () => {
  const number = fc.oneof(fc.integer(), fc.double(), fc.constantFrom(48, 6, 2));
  const keys = fc.constantFrom(
    "dim",
    "n_layers",
    "n_heads",
    "n_kv_heads",
    "multiple_of",
    "hidden_dim",
    "ffn_dim_multiplier",
    "vocab_size",
    "norm_eps",
    "use_scaled_rope",
    "other",
  );
  const content = fc.dictionary(keys, fc.oneof(number, fc.boolean(), fc.constant(null), fc.string()));
  const meta = await tempDir();
  for (const file of ["consolidated.00.pth", "consolidated.01.pth"])
    await writeFile(join(meta, file), readFileSync(join(FIXTURES, "meta", file)));
  await fc.assert(
    fc.asyncProperty(content, async params => {
      await writeFile(join(meta, "params.json"), JSON.stringify({ dim: 48, n_layers: 2, n_heads: 6, ...params }));
      const checkpoint = await openMeta(meta).catch(error => {
        if (!(error instanceof MmtrtError)) throw error;
      });
      for (const tensor of checkpoint?.tensors.values() ?? []) await readAll(tensor);
      await checkpoint?.close();
    }),
    { numRuns: 100 },
  );
});

describe("safetensors", () => {
  const dtype = fc.constantFrom(...(Object.keys(DTYPES) as Dtype[]).filter(d => d !== "int4"));
  const shape = fc.array(fc.oneof(fc.integer({ min: 0, max: 7 }), fc.constantFrom(19, 64)), { maxLength: 3 });
  const name = fc.string({ unit: "grapheme", minLength: 1 }).filter(n => n !== "__metadata__");
  const description = fc.uniqueArray(fc.record({ name, dtype, shape }), { selector: t => t.name, maxLength: 9 });

  it("reads back what it wrote, for any names, dtypes and shapes", async () => {
    await fc.assert(
      fc.asyncProperty(
        description,
        fc.dictionary(fc.string(), fc.string()),
        fc.integer(),
        async (tensors, metadata, seed) => {
          const recipes = tensors.map((t, i): TensorRecipe & { readonly bytes: Uint8Array } => {
            const bytes = Uint8Array.from(
              { length: byteLength(t.dtype, t.shape) },
              (_, j) => (seed + i * 131 + j * 7) & 255,
            );
            const row = rowBytes(t.dtype, t.shape);
            return { ...t, sources: [], bytes, readRows: async (start, end) => bytes.subarray(start * row, end * row) };
          });
          const path = join(dir, "x.safetensors");
          await writeSafetensors(path, recipes, { metadata });
          const pool = new FilePool();
          const read = await openSafetensors(pool, path);
          expect({ ...read.metadata }).toEqual({ ...metadata });
          expect([...read.tensors.keys()].sort()).toEqual(tensors.map(t => t.name).sort());
          for (const { name, dtype, shape, bytes } of recipes) {
            const tensor = read.tensors.get(name) as StoredTensor;
            expect(tensor).toMatchObject({ name, dtype, shape });
            expect(Buffer.from(await tensor.readRows(0, rowCount(shape))).equals(bytes)).toBe(true);
          }
          await pool.close();
        },
      ),
      { numRuns: 100 },
    );
  });
});

describe("JSON", () => {
  it("reads any value that JavaScript writes, at any indentation", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.integer({ min: 0, max: 3 }), (value, indent) => {
        expect(parseJson(JSON.stringify(value, null, indent), "x")).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  it("accepts a damaged text only as JavaScript reads it, and refuses what JavaScript refuses", () => {
    const damaged = fc.tuple(
      fc.json(),
      fc.nat(),
      fc.constantFrom("", "{", "]", '"', ",", ":", "\\", "0", "-", "e", "\n", "\u0000", "t"),
    );
    fc.assert(
      fc.property(damaged, ([text, at, inserted]) => {
        const bad = text.slice(0, at % (text.length + 1)) + inserted + text.slice((at % (text.length + 1)) + 1);
        const ours = attempt(() => parseJson(bad, "x"));
        const theirs = attempt(() => JSON.parse(bad));
        // Stricter in one way only: a key must not come twice.
        if ("error" in ours && String(ours.error).includes("comes twice")) return;
        expect("value" in ours).toBe("value" in theirs);
        if ("value" in ours && "value" in theirs) expect(ours.value).toEqual(theirs.value);
        if ("error" in ours) expect(ours.error).toBeInstanceOf(MmtrtError);
      }),
      { numRuns: 2000 },
    );
  });
});

function attempt(action: () => unknown): { readonly value: unknown } | { readonly error: unknown } {
  try {
    return { value: action() };
  } catch (error) {
    return { error };
  }
}

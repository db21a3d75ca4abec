import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { MmtrtError } from "../../src/diagnostics/index.ts";
import { BOMBS } from "../support/hostile/bombs.ts";
import { READERS } from "../support/hostile/index.ts";
import { FILE_MODULES } from "../support/hostile/modules.ts";
import { PIPES } from "../support/hostile/pipes.ts";
import { SharedInputs } from "../support/hostile/reader.ts";
import { bounded, fuzz, ifProblem } from "../support/hostile/survive.ts";
import { ROOT } from "../support/sources.ts";

/** Of the same 3000 in every run: a failure prints its seed, and scripts/fuzz.ts takes others at night. */
const CASES = 3000;
const SEED = 20_261_122;

const shared = new SharedInputs();
afterAll(() => shared.clean());

describe("damaged in any way, a file is read or refused in bounded time and memory", () => {
  it.each(READERS.map(reader => [reader.name, reader] as const))("%s", { timeout: 120_000 }, async (_, reader) => {
    await fuzz(reader, shared, { runs: Math.ceil(CASES / READERS.length), seed: SEED });
  });
});

describe("made to be costly, a file is read or refused in bounded time and memory", () => {
  it.each([...BOMBS, ...(process.platform === "win32" ? [] : PIPES)].map(bomb => [bomb.name, bomb] as const))(
    "%s",
    { timeout: 120_000 },
    async (_, bomb) => {
      const dir = await mkdtemp(join(tmpdir(), "mmtrt-bomb-"));
      try {
        await bomb.make(dir);
        const { error } = await bounded(bomb, dir, bomb.mebibytes ?? 300);
        if (error !== undefined) ifProblem(error);
        if (bomb.says === undefined) expect(error).toBeUndefined();
        else expect(error).toBeInstanceOf(MmtrtError);
        if (bomb.says !== undefined) expect((error as MmtrtError).message).toMatch(bomb.says);
      } finally {
        await rm(dir, { recursive: true, force: true });
      }
    },
  );
});

/** How a module of src comes to the bytes of a file. */
const READS =
  /\b(readFile|readFileSync|createReadStream|openSync|smallText|readJson|readJsonObject|readLines|readYamlText|sharp)\(|\bopen\([a-zA-Z.]+, "r"\)|new FilePool\(/;

it("every module that reads files is tried here, or says whose bytes it trusts", () => {
  const src = join(ROOT, "src");
  const reading = readdirSync(src, { recursive: true, encoding: "utf8" }).filter(
    name => name.endsWith(".ts") && READS.test(readFileSync(join(src, name), "utf8")),
  );
  expect(reading.length).toBeGreaterThan(80);
  expect(reading.filter(name => !Object.hasOwn(FILE_MODULES, name))).toEqual([]);
  expect(Object.keys(FILE_MODULES).filter(name => !reading.includes(name))).toEqual([]);
  const names = [...READERS, ...BOMBS].map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  const untried = Object.entries(FILE_MODULES).filter(
    ([, by]) => !/^trusted: ./.test(by) && !names.some(name => name.includes(by)),
  );
  expect(untried).toEqual([]);
});

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { MmtrtError } from "../../src/diagnostics/index.ts";
import { peekCommon, resolve } from "../../src/options/resolve.ts";
import { buildOptions } from "../../src/options/tables/build.ts";

const dir = mkdtempSync(join(tmpdir(), "mmtrt-options-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const FLAGS = Object.keys(buildOptions).flatMap(key => [`--${key}`, `--${key.replaceAll("_", "-")}`, `--no_${key}`]);
const word = fc.oneof(
  fc.constantFrom(
    ...FLAGS,
    "-i",
    "-o",
    "--",
    "#",
    "-",
    "=",
    "--=",
    "---",
    "-h",
    "enable",
    "disable",
    "auto",
    "1",
    "-1",
    "1e9",
    "float16",
  ),
  fc.tuple(fc.constantFrom(...FLAGS), fc.string()).map(([flag, value]) => `${flag}=${value}`),
  fc.string(),
);

/** Gives undefined for a good line and the error for a bad one; anything but an MmtrtError fails the property. */
async function outcome(argv: readonly string[], env: Record<string, string> = {}): Promise<MmtrtError | undefined> {
  try {
    await resolve("build", buildOptions, { argv, env });
    return undefined;
  } catch (error) {
    if (!(error instanceof MmtrtError)) throw error;
    return error;
  }
}

describe("whatever is typed", () => {
  it("is resolved or refused with problems that say what, where, why and what to do", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(word, { maxLength: 12 }), async argv => {
        peekCommon(argv, {});
        const argvWithoutConfig = argv.filter(text => !/^--?config/.test(text));
        for (const problem of (await outcome(argvWithoutConfig))?.problems ?? []) {
          for (const text of [problem.what, problem.at, problem.why, problem.fix]) expect(text).not.toBe("");
        }
      }),
      { numRuns: 400 },
    );
  });

  it("gives the same numbers back that were typed", async () => {
    const integer = fc.integer({ min: 1, max: 65536 });
    await fc.assert(
      fc.asyncProperty(integer, integer, fc.boolean(), async (batch, len, kebab) => {
        const name = (key: string): string => `--${kebab ? key.replaceAll("_", "-") : key}`;
        const argv = [
          "--checkpoint_dir",
          "c",
          "--output_dir",
          "e",
          name("max_batch_size"),
          String(batch),
          `${name("max_input_len")}=${len}`,
        ];
        const { options } = await resolve("build", buildOptions, { argv, env: {} });
        expect([options.max_batch_size, options.max_input_len]).toEqual([batch, len]);
      }),
    );
  });
});

describe("whatever the YAML file holds", () => {
  const good =
    "max_batch_size: 4\nbuild:\n  backend: onnxruntime\n  max_multimodal_len: auto\n  max_input_len: 989\nrun:\n  input_text: [a, b]\n  top_p: 0.9\n";
  const mutation = fc.record({
    at: fc.nat(good.length),
    cut: fc.nat(5),
    put: fc.oneof(
      fc.string({ maxLength: 4 }),
      fc.constantFrom("&a ", "*a", "!!", "<<: ", "? ", "- ", "[", "{", "\t", "|\n", "%", "\u0000"),
    ),
  });

  it("is taken or refused, never a crash", async () => {
    const file = join(dir, "mmtrt.yaml");
    await fc.assert(
      fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 3 }), async mutations => {
        const text = mutations.reduce((yaml, { at, cut, put }) => yaml.slice(0, at) + put + yaml.slice(at + cut), good);
        writeFileSync(file, text);
        const error = await outcome(["--checkpoint_dir", "c", "--output_dir", "e", "--config", file]);
        for (const { at } of error?.problems ?? []) expect(at).toMatch(/mmtrt\.yaml:\d+:\d+$|\(command line\)$/);
      }),
      { numRuns: 150 },
    );
  });
});

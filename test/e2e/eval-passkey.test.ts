import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Finished, Rig } from "../support/rig.ts";
import { ROOT } from "../support/sources.ts";

/** Trained to find a pass key in up to 512 tokens (test/reference/make_passkey_model.py). */
const MODEL = join(ROOT, "test/fixtures/models/passkey-llama");
/** Random weights; each token sees seven. */
const WINDOW = join(ROOT, "test/fixtures/parity/mistral_slides");

const rig = new Rig();
afterAll(() => rig.close());

async function engineOf(model: string, name: string, limits: readonly string[]): Promise<void> {
  const convert = await rig.run(["convert", model, "--output_dir", `${name}-checkpoint`, "--quiet"]);
  expect(convert.code, convert.stderr).toBe(0);
  const given = ["--checkpoint_dir", `${name}-checkpoint`, "--output_dir", name, "--quiet", ...limits];
  const build = await rig.run(["build", ...given]);
  expect(build.code, build.stderr).toBe(0);
}

beforeAll(async () => {
  await engineOf(MODEL, "keys", ["--max_input_len", "2048", "--max_seq_len", "2048"]);
  await engineOf(WINDOW, "window", ["--max_input_len", "20", "--max_seq_len", "40"]);
}, 120_000);

const passkey = (...argv: readonly string[]): Promise<Finished> =>
  rig.run(["eval", "passkey", "--engine_dir", "keys", ...argv]);

function lastEvent(finished: Finished): Record<string, unknown> {
  return JSON.parse(finished.stdout.trimEnd().split("\n").at(-1) as string) as Record<string, unknown>;
}

describe("mmtrt eval passkey", () => {
  it("finds every key at the lengths the model was trained for, in a table with a column for each depth", async () => {
    const finished = await passkey(
      "--context_len",
      "512,199",
      "--depths",
      "0,37,100",
      "--quiet",
      "--min_accuracy",
      "1",
    );
    expect(finished, finished.stderr).toMatchObject({ code: 0, stderr: "" });
    const [head, ...lines] = finished.stdout.trimEnd().split("\n");
    expect(head).toMatch(/^tokens +0 % +37 % +100 % +all +prefill$/);
    expect(lines[0]).toMatch(/^199 +1\/1 +1\/1 +1\/1 +3\/3 +\d+\.\d\d s$/);
    expect(lines[1]).toMatch(/^512 +1\/1 +1\/1 +1\/1 +3\/3 +\d+\.\d\d s$/);
    expect(lines.slice(2)).toEqual(["found 6 of 6 pass keys; all of them up to 512 tokens"]);
  });

  it("tells scripts the same, and which lengths are beyond the trained positions", async () => {
    const finished = await passkey("--context_len", "300", "640", "--depths", "50", "--json");
    expect(finished.code, finished.stdout).toBe(0);
    const notes = finished.stdout.split("\n").filter(line => line.includes('"event":"info"'));
    expect(notes.map(line => JSON.parse(line))).toEqual([
      expect.objectContaining({ trained_positions: 512, beyond: [640] }),
    ]);
    const result = lastEvent(finished);
    expect(result).toMatchObject({ event: "result", total: 2, trained_positions: 512, sliding_window: null, seed: 0 });
    expect(result.cells).toContainEqual({ context_len: 300, depth: 50, found: 1, total: 1 });
  });

  it("exits with 4 when fewer are found than asked for", async () => {
    // Four times the trained length, without scaling.
    const finished = await passkey("--context_len", "2048", "--depths", "0", "--samples", "3", "--min_accuracy", "1");
    expect(finished.code, finished.stdout).toBe(4);
    expect(finished.stderr).toContain("error[NUM003]: accuracy is");
    expect(finished.stdout).toMatch(/2048 tokens, 0 %: expected \d{5}, answered "/);
  });

  it("refuses what the engine has no room for, all of it before anything runs, with the parameters to change", async () => {
    const finished = await passkey("--context_len", "2049,19,4096");
    expect(finished).toMatchObject({ code: 1, stdout: "" });
    expect(finished.stderr).toContain("fix  build with --max_seq_len 2049 or more, or ask for shorter contexts");
    expect(finished.stderr).toContain("fix  build with --max_seq_len 4096 --max_input_len 4090 or more");
    expect(finished.stderr.match(/error\[RUN010\]/g)?.length).toBe(2);
    expect(finished.stderr).toContain("error[RUN034]: a context of 19 tokens does not hold the question");
  });

  it("refuses options of the other task, lengths that are no numbers, and models without a tokenizer", async () => {
    expect((await passkey("--texts", "a.txt")).stderr).toContain("error[CFG014]: --texts is given to eval passkey");
    const other = await rig.run(["eval", "--engine_dir", "keys", "--depths", "5"]);
    expect(other).toMatchObject({ code: 2 });
    expect(other.stderr).toContain("--depths is given to eval perplexity");
    expect((await passkey("--depths", "101")).stderr).toContain("error[CFG002]");
    const wordless = await rig.run(["eval", "passkey", "--engine_dir", "window"]);
    expect(wordless.stderr).toContain("error[RUN005]");
  });
});

describe("mmtrt run of a model with a sliding window", () => {
  const ids = (count: number): string =>
    rig.file(`ids-${count}.json`, JSON.stringify([Array.from({ length: count }, (_, i) => 3 + i)]));
  const run = (count: number, ...argv: readonly string[]): Promise<Finished> =>
    rig.run(["run", "--engine_dir", "window", "--input_ids", ids(count), ...argv]);

  it("says that the prompt is longer than what a token sees, and nothing where it is not", async () => {
    const long = await run(9, "--max_new_tokens", "3");
    expect(long.stderr).toContain(
      "note: each token sees the 7 tokens up to it (sliding_window); prompt and answer have up to 12",
    );
    expect((await run(4, "--max_new_tokens", "3")).stderr).not.toContain("sliding_window");
  });
});

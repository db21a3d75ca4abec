import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Finished, Rig } from "../support/rig.ts";

const MODEL = fileURLToPath(new URL("../fixtures/models/llava-shapes", import.meta.url));

const rig = new Rig();
afterAll(() => rig.close());

const LINES = [
  { input_text: "What colour is the star?", image: join(MODEL, "demo.png") },
  { input_text: "Describe the image.", image: join(MODEL, "demo.png") },
  { input_text: "Describe the image.", images: [join(MODEL, "demo-four.png")] },
  { input_text: "Describe the image.", image: join(MODEL, "demo.png") },
];
const ANSWERS = [
  "[1] blue",
  "[2] a red circle, a green triangle and a blue star",
  "[3] a purple cross, a yellow circle, a red square and a green star",
  "[4] a red circle, a green triangle and a blue star",
];

beforeAll(async () => {
  await rig.run(["convert", MODEL, "--output_dir", "checkpoint", "--quiet"]);
  rig.file("requests.jsonl", LINES.map(line => JSON.stringify(line)).join("\n"));
  expect(await build("engine", "--use_paged_context_fmha", "--tokens_per_block", "16")).toMatchObject({ code: 0 });
}, 120_000);

function build(output: string, ...flags: readonly string[]): Promise<Finished> {
  const limits = ["--max_batch_size", "2", "--max_input_len", "120", "--max_seq_len", "160"];
  const paths = ["--checkpoint_dir", "checkpoint", "--output_dir", output];
  return rig.run(["build", ...paths, "--quiet", ...limits, ...flags]);
}

const run = (...argv: readonly string[]): Promise<Finished> =>
  rig.run(["run", "--engine_dir", "engine", "--max_new_tokens", "40", ...argv]);

describe("mmtrt run --input_file", () => {
  it("answers line by line, and the same with what was known before, which it counts", async () => {
    const plain = await run("--input_file", "requests.jsonl");
    expect(plain).toMatchObject({ code: 0, stderr: "", stdout: `${ANSWERS.join("\n")}\n` });
    const reused = await run("--input_file", "requests.jsonl", "--enable_kv_cache_reuse");
    expect(reused.stdout).toBe(plain.stdout);
    expect(reused.stderr).toMatch(
      /^kv cache reuse: \d+ of \d+ prompt tokens known from before \(\d+\.\d %\); \d+ of \d+ blocks kept \([\d.]+ KiB\)\n$/,
    );
  });

  it("gives an event for each line with --json, and ends with the result and what was reused", async () => {
    const flags = ["--kv_cache_enable_block_reuse", "--kv_cache_reuse_size", "800KiB", "--batch_size", "2", "--json"];
    const { stdout } = await run("--input_file", "requests.jsonl", ...flags);
    const events = stdout
      .trimEnd()
      .split("\n")
      .map(line => JSON.parse(line) as Record<string, unknown>);
    const answers = events.filter(({ event }) => event === "answer");
    expect(answers.map(({ line, text }) => `[${line}] ${text}`)).toEqual(ANSWERS);
    // Within the first batch the second line begins as the first one does: words and all of the picture.
    expect(answers[0]).toMatchObject({ batch: { reused_tokens: 80, timing: { decode_ms: expect.any(Array) } } });
    const result = events.at(-1) as { event: string; outputs: unknown[]; kv_cache_reuse: Record<string, number> };
    expect(result.event).toBe("result");
    expect(result.outputs).toHaveLength(4);
    const { prompt_tokens, reused_tokens, hit_rate, bytes, blocks, max_blocks } = result.kv_cache_reuse as Record<
      string,
      number
    >;
    expect(reused_tokens).toBeGreaterThanOrEqual(160);
    expect(hit_rate).toBeCloseTo((reused_tokens as number) / (prompt_tokens as number), 4);
    expect(bytes).toBeLessThanOrEqual(800 * 1024);
    expect(blocks).toBeLessThanOrEqual(max_blocks as number);
  });

  it("refuses what does not go together, and an engine whose prefill starts from nothing", async () => {
    const twice = await run("--input_file", "requests.jsonl", "--input_text", "hello", "--run_profiling");
    expect(twice.code).toBe(1);
    expect(twice.stderr).toMatch(/error\[RUN016\]: both --input_file and --input_text are given/);
    expect(twice.stderr).toMatch(/error\[RUN016\]: both --input_file and --run_profiling are given/);
    expect((await run("--input_file", "none.jsonl")).stderr).toMatch(/error\[RUN014\]: .*none\.jsonl cannot be read/);
    expect((await build("plain")).code).toBe(0);
    const asked = ["--input_file", "requests.jsonl", "--enable_kv_cache_reuse"];
    const plain = await rig.run(["run", "--engine_dir", "plain", ...asked]);
    expect(plain).toMatchObject({ code: 1, stdout: "" });
    expect(plain.stderr).toMatch(/error\[RUN032\]: .*\n.*\n.*\n {2}fix {2}mmtrt build --use_paged_context_fmha/);
  });

  it("times a prompt whose beginning is known, and says how much of it was", async () => {
    const question = ["--image", join(MODEL, "demo.png"), "--input_text", "Describe the image."];
    const timed = await run(...question, "--enable_kv_cache_reuse", "--run_profiling", "--profiling_iterations", "2");
    expect(timed.stdout).toMatch(/^batch 1, 1 beam\(s\), 90 prompt tokens \(80 reused\)/);
  });
});

describe("mmtrt build", () => {
  it("takes max_num_tokens below a prompt for pieces only, and a batch must fit", async () => {
    const whole = await build("small", "--max_num_tokens", "64", "--plan");
    expect(whole.stderr).toMatch(/error\[BLD016\].*\n.*\n.*\n.*or --use_paged_context_fmha, which runs it in pieces/);
    const narrow = await build("small", "--max_num_tokens", "1", "--use_paged_context_fmha", "--plan");
    expect(narrow.stderr).toMatch(/error\[BLD055\]: max_num_tokens 1 is smaller than max_batch_size 2/);
    expect((await build("small", "--max_num_tokens", "64", "--use_paged_context_fmha")).code).toBe(0);
    const answered = await rig.run([
      "run",
      "--engine_dir",
      "small",
      "--input_file",
      "requests.jsonl",
      "--max_new_tokens",
      "40",
    ]);
    expect(answered.stdout).toBe(`${ANSWERS.join("\n")}\n`);
  });
});

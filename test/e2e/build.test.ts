import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Rig } from "../support/rig.ts";
import { ROOT } from "../support/sources.ts";

const rig = new Rig();

beforeAll(async () => {
  const fixture = join(ROOT, "test/fixtures/parity/llava_mqa");
  const { code, stderr } = await rig.run(["convert", fixture, "--output_dir", "checkpoint", "--quiet"]);
  expect(`${code} ${stderr}`).toMatch(/^0 /);
});
afterAll(() => rig.close());

const build = (...flags: string[]): ReturnType<Rig["run"]> =>
  rig.run(["build", "--checkpoint_dir", "checkpoint", "--output_dir", "engines", ...flags]);

describe("mmtrt build", () => {
  it("says in one message per rule what is wrong, exits 1 and writes nothing", async () => {
    const { code, stdout, stderr } = await build("--max_batch_size", "8", "--max_multimodal_len", "50", "--quiet");
    expect(code).toBe(1);
    expect(stdout).toBe("");
    expect(stderr).toBe(
      [
        "error[BLD014]: max_multimodal_len 50 is too small for max_batch_size 8",
        "  at   --max_multimodal_len (command line)",
        "  why  every image of the batch puts 25 visual features into the prompt table: 8 × 25 = 200 rows",
        "  fix  --max_multimodal_len 200, or --max_batch_size 2",
        "",
      ].join("\n"),
    );
    expect(readdirSync(rig.dir)).toEqual(["checkpoint"]);
  });

  it("points to the line of a YAML file", async () => {
    rig.file("mmtrt.yaml", "build:\n  max_batch_size: 2\n  max_seq_len: 40\n  max_input_len: 41\n");
    const { stderr, code } = await build("--config", "mmtrt.yaml");
    expect(code).toBe(1);
    expect(stderr).toMatch(/error\[BLD010\].*\n {2}at {3}mmtrt\.yaml:4:\d+\n/);
  });

  it("shows the plan and writes nothing", async () => {
    const { code, stdout } = await build("--plan", "--max_batch_size", "3", "--gpu", "a10");
    expect(code).toBe(0);
    for (const part of [
      "profile context of llm/rank0",
      "past_key_0…",
      "profile images of visual",
      "kv_cache",
      "A10: 22.5 GiB",
    ])
      expect(stdout).toContain(part);
    expect(readdirSync(rig.dir)).not.toContain("engines");
  });

  it("gives the plan as data with --plan --json", async () => {
    const { stdout } = await build("--plan", "--json", "--max_batch_size", "3");
    const [result] = stdout
      .trim()
      .split("\n")
      .map(line => JSON.parse(line))
      .slice(-1);
    expect(result).toMatchObject({ event: "result", backend: "onnxruntime", problems: [] });
    expect(result.engines[0].profiles[1].sizes.batch).toEqual({ min: 1, opt: 2, max: 3 });
    expect(result.adjustments.map((a: { option: string }) => a.option)).toContain("max_multimodal_len");
  });

  it("builds, then has nothing to do, then replaces only with --force", async () => {
    const first = await build("--max_batch_size", "2");
    expect([first.code, first.stdout]).toEqual([
      0,
      expect.stringMatching(/^built: <dir>\/engines \(2 engines for onnxruntime; /),
    ]);
    const again = await build("--max_batch_size", "2");
    expect(again.stdout).toMatch(/^nothing to do: <dir>\/engines is up to date/);
    const other = await build("--max_batch_size", "1");
    expect([other.code, other.stderr]).toEqual([1, expect.stringContaining("max_batch_size 2 → 1")]);
    const forced = await build("--max_batch_size", "1", "--force", "--json");
    expect(JSON.parse(forced.stdout.trim().split("\n").at(-1) ?? "")).toMatchObject({
      event: "result",
      status: "built",
    });
    const manifest = JSON.parse(readFileSync(join(rig.dir, "engines/mmtrt.json"), "utf8"));
    expect(manifest.options.max_batch_size).toBe(1);
  });

  it("turns --max_output_len of old command lines into max_seq_len", async () => {
    const { stderr, stdout } = await build("--plan", "--json", "--max_input_len", "30", "--max_output_len", "19");
    expect(stderr).toBe("");
    expect(JSON.parse(stdout.trim().split("\n").at(-1) ?? "").options).toMatchObject({
      max_input_len: 30,
      max_seq_len: 49,
    });
  });

  it("refuses a model that was not converted, with the command to type", async () => {
    const fixture = join(ROOT, "test/fixtures/parity/llava_mqa");
    const { code, stderr } = await rig.run(["build", "--checkpoint_dir", fixture, "--output_dir", "other"]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/error\[CKP050\].*not a converted checkpoint[\s\S]*fix {2}mmtrt convert /);
    expect(readdirSync(rig.dir)).not.toContain("other");
  });
});

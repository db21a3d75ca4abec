import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MmtrtError, type Problem } from "../../../src/diagnostics/index.ts";
import { type Resolved, resolve } from "../../../src/options/resolve.ts";
import { buildOptions } from "../../../src/options/tables/build.ts";
import { planOptions } from "../../../src/options/tables/plan.ts";
import { runOptions } from "../../../src/options/tables/run.ts";

let dir = "";
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "mmtrt-config-"));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** Resolves `mmtrt run` with this YAML text as its config file. */
async function read(yaml: string, argv: readonly string[] = []): Promise<Resolved<typeof runOptions>> {
  const file = join(dir, "mmtrt.yaml");
  await writeFile(file, yaml);
  return resolve("run", runOptions, { argv: ["--engine_dir", "e", "--config", file, ...argv], env: {} });
}

async function problems(yaml: string): Promise<readonly Problem[]> {
  const error: unknown = await read(yaml).then(
    () => undefined,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(MmtrtError);
  return (error as MmtrtError).problems.map(p => ({ ...p, at: p.at.replace(`${dir}/`, "") }));
}

describe("mmtrt.yaml", () => {
  it("sets options from the command's section, which beats the keys at the top", async () => {
    const { options, origin } = await read(
      "max_new_tokens: 19\nseed: 3\nrun:\n  max_new_tokens: 989\n  input_text: [a, 'b, c']\nbuild:\n  backend: tensorrt\n",
    );
    expect(options).toMatchObject({ max_new_tokens: 989, seed: 3, input_text: ["a", "b, c"], num_beams: 1 });
    expect(origin("run.max_new_tokens")).toBe(`${dir}/mmtrt.yaml:4:19`);
    expect(origin("seed")).toBe(`${dir}/mmtrt.yaml:2:7`);
  });

  it("has a section of mmtrt plan, which build's flag of that name is not taken from", async () => {
    const file = join(dir, "plan.yaml");
    await writeFile(file, "plan:\n  max_batch_size: 3\nbuild:\n  max_batch_size: 5\n");
    const argv = ["--checkpoint_dir", "c", "--output_dir", "e", "--config", file];
    const build = await resolve("build", buildOptions, { argv, env: {} });
    expect(build.options).toMatchObject({ plan: false, max_batch_size: 5 });
    const plan = await resolve("plan", planOptions, { argv: ["--model", "gpt2", "--config", file], env: {} });
    expect(plan.options).toMatchObject({ model: "gpt2", max_batch_size: 3 });
  });

  it("is beaten by a flag", async () => {
    const { options, origin } = await read("max_new_tokens: 19\n", ["--max_new_tokens", "3"]);
    expect(options.max_new_tokens).toBe(3);
    expect(origin("max_new_tokens")).toBe("--max_new_tokens (command line)");
  });

  it("means paths from where the file lies", async () => {
    const { options } = await read("run:\n  image: [a.png, /b.png]\n");
    expect(options.image).toEqual([join(dir, "a.png"), "/b.png"]);
  });

  it("may be empty, and takes the switch words for booleans", async () => {
    expect((await read("")).options.stream).toBe(true);
    expect((await read("# nothing\n")).options.stream).toBe(true);
    expect((await read("stream: disable\n")).options.stream).toBe(false);
  });

  it("has all its problems reported in the order of the file, with the place of the key or the value", async () => {
    const yaml =
      "max_new_tokens: 0\nmax_new_tokenss: 4\nrun:\n  num_beams: two\n  top-k: 3\n  random_seed: 3\nconvert: 3\nbuild:\n  backend: tensorr\n  max_batch_size: 1.5\n  max_multimodal_len: [1]\nverify:\n  reference:\n";
    expect((await problems(yaml)).map(p => [p.code, p.at, p.what, p.fix])).toEqual([
      [
        "CFG002",
        "mmtrt.yaml:1:17",
        "max_new_tokens must be a whole number from 1 to 16777216; got 0",
        "max_new_tokens: N",
      ],
      ["CFG005", "mmtrt.yaml:2:1", "unknown key max_new_tokenss", "did you mean max_new_tokens?"],
      ["CFG002", "mmtrt.yaml:4:14", "num_beams must be a whole number from 1 to 256; got two", "num_beams: N"],
      ["CFG005", "mmtrt.yaml:5:3", "mmtrt run has no option top-k", "did you mean top_k?"],
      ["CFG005", "mmtrt.yaml:6:3", "mmtrt run has no option random_seed", "random_seed is an old spelling: write seed"],
      [
        "CFG006",
        "mmtrt.yaml:7:1",
        "the section convert must map keys to values; got 3",
        "see docs/reference for the keys",
      ],
      [
        "CFG002",
        "mmtrt.yaml:9:12",
        "backend must be one of onnxruntime, tensorrt, tensorrt_rtx; got tensorr",
        "did you mean tensorrt?",
      ],
      [
        "CFG002",
        "mmtrt.yaml:10:19",
        "max_batch_size must be a whole number from 1 to 65536; got 1.5",
        "max_batch_size: N",
      ],
      [
        "CFG002",
        "mmtrt.yaml:11:23",
        "max_multimodal_len must be a whole number from 0 to 16777216, or auto; got [1]",
        "max_multimodal_len: auto|N",
      ],
      ["CFG002", "mmtrt.yaml:13:13", "reference must be a path; got null", "reference: FILE"],
    ]);
  });

  it("points into a list", async () => {
    expect(await problems("run:\n  input_text:\n    - fine\n    - 3\n")).toMatchObject([
      { code: "CFG002", at: "mmtrt.yaml:4:7", what: "input_text must be text; got 3" },
    ]);
  });

  it.each([
    ["cut short", "run: {num_beams: 3", /^mmtrt\.yaml:1:\d+$/],
    ["a key twice", "seed: 3\nseed: 4\n", /^mmtrt\.yaml:2:1$/],
    ["a list at the top", "- seed\n", /^mmtrt\.yaml:1:1$/],
    ["a text at the top", "seed\n", /^mmtrt\.yaml:1:1$/],
    [
      "an alias bomb",
      `a: &a [${"x,".repeat(9)}x]\n${"bcdefghi"
        .split("")
        .map((k, i) => `${k}: &${k} [${`*${"abcdefgh"[i]},`.repeat(9)}*${"abcdefgh"[i]}]`)
        .join("\n")}\n`,
      /^mmtrt\.yaml:/,
    ],
    ["bytes", "\u0000\u0001\u0002", /^mmtrt\.yaml:1:/],
  ])("that is %s is refused at a place", async (_, yaml, at) => {
    const found = await problems(yaml);
    expect(found[0]?.code).toMatch(/^CFG00[56]$/);
    expect(found[0]?.at).toMatch(at);
  });

  it("that is missing, a directory or huge is refused", async () => {
    const go = (file: string): Promise<unknown> =>
      resolve("run", runOptions, { argv: ["--engine_dir", "e", `--config=${file}`], env: {} });
    await expect(go(join(dir, "absent.yaml"))).rejects.toThrow(
      /CFG006.*absent\.yaml: ENOENT.*--config \(command line\)/s,
    );
    await expect(go(dir)).rejects.toThrow(/CFG006.*is not a file/s);
    await writeFile(join(dir, "huge.yaml"), `# ${"x".repeat(1 << 20)}`);
    await expect(go(join(dir, "huge.yaml"))).rejects.toThrow(/CFG006.*has 1048578 bytes/s);
  });
});

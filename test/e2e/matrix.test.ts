import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { type Finished, Rig } from "../support/rig.ts";
import { ROOT } from "../support/sources.ts";
import { fakePlan, StandIn } from "../support/standin.ts";

const MODELS = join(ROOT, "test/fixtures/models");
const MATRIX = `
models:
  llava: ${MODELS}/llava-shapes
  gpt2: ${MODELS}/gpt2-shapes
matrix:
  precision: [float32, float16]
  max_batch_size: [1, 3]
`;

let rigs: Rig[] = [];
const rigWith = (text = MATRIX): Rig => {
  const rig = new Rig();
  rig.file("matrix.yaml", text);
  rigs.push(rig);
  return rig;
};
afterEach(() => {
  for (const rig of rigs) rig.close();
  rigs = [];
});

interface Step {
  readonly kind: string;
  readonly label: string;
  readonly state: string;
  readonly cells: readonly string[];
  readonly reason: string | null;
  readonly started: number | null;
  readonly seconds: number;
}

interface Result {
  readonly cells: readonly { readonly name: string; readonly state: string }[];
  readonly steps: readonly Step[];
}

function resultOf({ stdout }: Finished): Result {
  const lines = stdout.trim().split("\n");
  const found = lines.map(line => JSON.parse(line)).find(({ event }) => event === "result");
  if (found === undefined) throw new Error(`no result in ${stdout}`);
  return found;
}

const run = (rig: Rig, ...argv: string[]): Promise<Finished> => rig.run(["matrix", "matrix.yaml", "--json", ...argv]);

async function built(rig: Rig, ...argv: string[]): Promise<Result> {
  const ended = await run(rig, ...argv);
  expect(ended.code, ended.stdout + ended.stderr).toBe(0);
  return resultOf(ended);
}

const done = ({ steps }: Result): readonly string[] =>
  steps.filter(({ state }) => state === "done").map(({ label, cells }) => `${label} of ${cells.join(" ")}`);

/** Path → SHA-256 of every file below. */
function bytesOf(dir: string): Readonly<Record<string, string>> {
  const files = readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name));
  const hash = (file: string): string => createHash("sha256").update(readFileSync(file)).digest("hex");
  return Object.fromEntries(files.sort().map(file => [relative(dir, file), hash(file)]));
}

describe("mmtrt matrix", () => {
  it("does every step once for all cells that need it, and nothing at all the second time", async () => {
    const rig = rigWith();
    const cold = await built(rig, "--workers", "2");
    expect(cold.cells.map(({ state }) => state)).toEqual(Array(8).fill("built"));
    const ofKind = (kind: string): readonly Step[] => cold.steps.filter(step => step.kind === kind);
    expect(ofKind("convert").map(({ cells }) => cells)).toEqual([
      ["llava-float32-b1", "llava-float32-b3"],
      ["llava-float16-b1", "llava-float16-b3"],
      ["gpt2-float32-b1", "gpt2-float32-b3"],
      ["gpt2-float16-b1", "gpt2-float16-b3"],
    ]);
    // A graph has no batch size in it: one for each part of each checkpoint.
    expect(ofKind("graph")).toHaveLength(8);
    expect(ofKind("cell")).toHaveLength(8);
    const warm = await built(rig);
    expect(done(warm)).toEqual([]);
    expect(warm.cells.map(({ state }) => state)).toEqual(Array(8).fill("unchanged"));
  });

  it("does again only what an option changes, and says why", async () => {
    const rig = rigWith();
    await built(rig);
    rig.file(
      "matrix.yaml",
      MATRIX.replace("[1, 3]", "[1, 3]\noverrides: [{ when: { model: gpt2 }, max_seq_len: 61, max_input_len: 41 }]"),
    );
    const changed = await built(rig, "--explain");
    const kinds = changed.steps.filter(({ state }) => state === "done").map(({ kind }) => kind);
    expect(kinds.filter(kind => kind === "convert" || kind === "graph")).toEqual([]);
    expect(done(changed).every(step => step.includes("gpt2"))).toBe(true);
    expect(changed.steps.find(({ label, state }) => label === "plan" && state === "done")?.reason).toBe(
      "max_input_len 1024 → 41, max_seq_len null → 61",
    );
    const back = rigWith();
    expect(
      done(await built(back, "--cache_dir", join(rig.dir, ".mmtrt/cache"))).every(step => step.startsWith("cell ")),
    ).toBe(true);
  });

  it("runs what it built", async () => {
    const rig = rigWith();
    await built(rig, "--only", "llava-float32-b1");
    const image = join(
      MODELS,
      "llava-shapes/heldout",
      readdirSync(join(MODELS, "llava-shapes/heldout")).find(name => name.endsWith(".png")) ?? "",
    );
    const asked = await rig.run([
      "run",
      "--engine_dir",
      "engines/llava-float32-b1",
      "--image",
      image,
      "--input_text",
      "What is shown?",
      "--max_new_tokens",
      "2",
      "--json",
    ]);
    expect(asked.code, asked.stdout).toBe(0);
    expect(readdirSync(join(rig.dir, "engines"))).toEqual(["llava-float32-b1"]);
  });

  it("goes on after kill -9 at three moments and ends with the same bytes", async () => {
    const reference = rigWith();
    await built(reference);
    const expected = bytesOf(join(reference.dir, "engines"));
    const rig = rigWith();
    const signals: (string | null)[] = [];
    for (const steps of [2, 6, 13]) {
      const running = rig.start(["matrix", "matrix.yaml", "--json", "--workers", "2"]);
      await running.says(new RegExp(`(?:"event":"step"[^\\n]*\\n[\\s\\S]*?){${steps}}`));
      running.kill("SIGKILL");
      signals.push((await running.finished).signal);
    }
    // What is in the cache passes quickly: the last run may be done before the signal reaches it.
    expect(signals.slice(0, 2)).toEqual(["SIGKILL", "SIGKILL"]);
    const resumed = await built(rig);
    expect(resumed.steps.some(({ state }) => state === "cached")).toBe(true);
    expect(bytesOf(join(rig.dir, "engines"))).toEqual(expected);
    // Nothing of the killed runs is left but results.
    expect(readdirSync(join(rig.dir, ".mmtrt/cache/stages"))).toEqual([]);
    expect((await rig.run(["cache", "verify"])).stdout).toMatch(/ 0 damaged/);
  });

  it("is looked for by cache without being made", async () => {
    const rig = rigWith(MATRIX);
    for (const action of ["ls", "verify"]) {
      const looked = await rig.run(["cache", action, "--cache_dir", "nowhere"]);
      expect(looked).toMatchObject({ code: 0, stdout: expect.stringMatching(/^no cache at .*nowhere/) });
    }
    expect(existsSync(join(rig.dir, "nowhere"))).toBe(false);
  });

  it("lets two shards share a cache at once without doing anything twice", async () => {
    const rig = rigWith(MATRIX.replace("precision: [float32, float16]", "precision: [float16]"));
    // Both shards need the same checkpoints when cells are dealt out by batch size.
    const shards = await Promise.all([
      run(rig, "--only", "max_batch_size=1", "--no-lock"),
      run(rig, "--only", "max_batch_size=3", "--no-lock"),
    ]);
    for (const shard of shards) expect(shard.code, shard.stdout + shard.stderr).toBe(0);
    const all = shards.flatMap(shard => done(resultOf(shard)).map(step => step.replace(/-b[13]/g, "")));
    const shared = all.filter(step => /^(convert|graph)/.test(step));
    expect(shared).toHaveLength(new Set(shared).size);
    expect(shared).toHaveLength(6);
    expect(done(await built(rig))).toEqual([]);
  });

  it("splits the cells among shards so that each is built once", async () => {
    const rig = rigWith();
    const names = await Promise.all(
      ["1/3", "2/3", "3/3"].map(async shard => {
        const planned = await run(rig, "--shard", shard, "--plan");
        return (JSON.parse(planned.stdout.trim()) as { cells: { name: string }[] }).cells.map(({ name }) => name);
      }),
    );
    expect(names.map(({ length }) => length)).toEqual([2, 3, 3]);
    expect(new Set(names.flat()).size).toBe(8);
  });

  it.each([
    ["truncated", (file: string) => writeFileSync(file, readFileSync(file).subarray(1))],
    ["changed in place", (file: string) => flip(file)],
    ["removed", (file: string) => rmSync(file)],
  ])("takes a result of which a file was %s for absent and makes it again", async (_, damage) => {
    const rig = rigWith(MATRIX.replace("[1, 3]", "1"));
    await built(rig, "--only", "gpt2-float16-b1");
    const expected = bytesOf(join(rig.dir, "engines"));
    const graph = join(rig.dir, ".mmtrt/cache/steps/graph");
    const file = readdirSync(graph, { recursive: true, withFileTypes: true }).find(
      entry => entry.name === "model.onnx",
    );
    damage(join(file?.parentPath ?? "", "model.onnx"));
    const again = await built(rig, "--only", "gpt2-float16-b1");
    expect(again.steps.filter(({ kind, state }) => kind === "graph" && state === "done")).toHaveLength(1);
    expect(again.steps.find(({ kind, state }) => kind === "graph" && state === "done")?.reason).toMatch(
      /^its result is damaged: model\.onnx /,
    );
    expect(bytesOf(join(rig.dir, "engines"))).toEqual(expected);
  });

  it("makes an engine directory again that somebody changed or removed", async () => {
    const rig = rigWith(MATRIX.replace("[1, 3]", "1"));
    await built(rig, "--only", "gpt2-*");
    const expected = bytesOf(join(rig.dir, "engines"));
    writeFileSync(join(rig.dir, "engines/gpt2-float16-b1/llm/config.json"), "{}");
    rmSync(join(rig.dir, "engines/gpt2-float32-b1"), { recursive: true });
    // Two workers make them side by side: either may be done first.
    expect([...done(await built(rig, "--only", "gpt2-*"))].sort()).toEqual([
      "cell of gpt2-float16-b1",
      "cell of gpt2-float32-b1",
    ]);
    expect(bytesOf(join(rig.dir, "engines"))).toEqual(expected);
  });

  it("refuses with --frozen what drifted, by its name, and gives the same bytes from the same lock", async () => {
    const rig = rigWith(MATRIX.replace("[1, 3]", "1"));
    await built(rig);
    const expected = bytesOf(join(rig.dir, "engines"));
    rmSync(join(rig.dir, ".mmtrt"), { recursive: true });
    rmSync(join(rig.dir, "engines"), { recursive: true });
    await built(rig, "--frozen");
    expect(bytesOf(join(rig.dir, "engines"))).toEqual(expected);
    rig.file(
      "matrix.yaml",
      MATRIX.replace("[1, 3]", "2").replace(
        `: ${MODELS}/gpt2-shapes`,
        `: { model_dir: ${MODELS}/gpt2-shapes, max_input_len: 41 }`,
      ),
    );
    const drifted = await run(rig, "--frozen", "--only", "gpt2-float16-*");
    expect(drifted.code).toBe(1);
    expect(drifted.stdout).toContain("gpt2-float16-b2 is not in the lockfile");
    rig.file(
      "matrix.yaml",
      MATRIX.replace("[1, 3]", "1").replace(
        `: ${MODELS}/gpt2-shapes`,
        `: { model_dir: ${MODELS}/gpt2-shapes, max_input_len: 41 }`,
      ),
    );
    const other = await run(rig, "--frozen", "--only", "gpt2-float16-*");
    expect(other.stdout).toContain("cell gpt2-float16-b1 drifted: build.max_input_len null → 41");
    const since = await built(rig, "--changed_since", "mmtrt.lock");
    expect(since.cells.map(({ name }) => name)).toEqual(["gpt2-float32-b1", "gpt2-float16-b1"]);
  });

  it("ends with the code of the worst cell, goes on with --keep_going, and tells JUnit, Markdown and the page", async () => {
    const rig = rigWith(`
models:
  gpt2: ${MODELS}/gpt2-shapes
  absent: nowhere
matrix: { max_batch_size: [1, 2] }
defaults: { max_seq_len: 100 }
overrides: [{ when: { model: gpt2, max_batch_size: 2 }, max_input_len: 999 }]
`);
    const ended = await rig.run([
      "matrix",
      "matrix.yaml",
      "--keep_going",
      "--junit",
      "j.xml",
      "--markdown",
      "s.md",
      "--html",
      "p.html",
      "--json",
    ]);
    expect(ended.code).toBe(1);
    const { cells } = resultOf(ended);
    expect(Object.fromEntries(cells.map(({ name, state }) => [name, state]))).toEqual({
      "gpt2-b1": "built",
      "gpt2-b2": "failed",
      "absent-b1": "failed",
      "absent-b2": "failed",
    });
    // The option's place is that of the matrix file, though another process refused it.
    expect(ended.stdout).toMatch(/"at":"matrix\.yaml:\d+:\d+"/);
    const xml = readFileSync(join(rig.dir, "j.xml"), "utf8");
    expect(xml).toContain('tests="4" failures="3" errors="0" skipped="0"');
    expect(readFileSync(join(rig.dir, "s.md"), "utf8")).toContain("| `gpt2-b1` | ✅ built |");
    expect(statSync(join(rig.dir, "p.html")).size).toBeGreaterThan(5000);
    expect(existsSync(join(rig.dir, "engines/gpt2-b2"))).toBe(false);
  });

  it("gives builders that time kernels one at a time a copy of the timing cache that they share", async () => {
    const tool = new StandIn({ version: "101600", engine: fakePlan("ftrt", [10, 16, 0, 0]) });
    const rig = rigWith(
      `
models: { gpt2: ${MODELS}/gpt2-shapes }
defaults: { backend: tensorrt, precision: float16 }
matrix: { max_batch_size: [1, 3] }
`.replace(", precision: float16", ", convert: { dtype: float16 }"),
    );
    const env = Object.fromEntries(
      Object.entries(tool.env).filter((entry): entry is [string, string] => entry[1] !== undefined),
    );
    const ended = await rig.run(["matrix", "matrix.yaml", "--json"], { env });
    expect(ended.code, ended.stdout + ended.stderr).toBe(0);
    const { steps } = resultOf(ended);
    const engines = steps.filter(({ kind }) => kind === "engine");
    expect(engines).toHaveLength(4);
    const [first, ...others] = engines.toSorted((a, b) => (a.started ?? 0) - (b.started ?? 0));
    let end = (first?.started ?? 0) + (first?.seconds ?? 0);
    for (const { started, seconds } of others) {
      // Clocks are read a little apart.
      expect(started ?? 0).toBeGreaterThan(end - 0.05);
      end = (started ?? 0) + seconds;
    }
    const caches = tool.runs().flatMap(({ argv }) => argv.filter(word => word.startsWith("--timingCacheFile=")));
    expect(caches).toHaveLength(4);
    expect(new Set(caches).size).toBe(4);
    for (const word of caches) expect(word).toContain("/stages/");
  });

  it("shows each mistake of the file with its line and column, and builds nothing", async () => {
    const rig = rigWith(
      "models:\n  a: x\nmatrix:\n  max_batch_size: [1, 0]\n  precision: fp17\nexclude:\n  - { modle: a }\n",
    );
    const ended = await rig.run(["matrix", "matrix.yaml"]);
    expect(ended.code).toBe(2);
    expect(ended.stderr).toContain(
      "max_batch_size must be a whole number from 1 to 65536; got 0\n  at   matrix.yaml:4:23",
    );
    expect(ended.stderr).toContain("precision fp17 is not defined");
    expect(ended.stderr).toContain("at   matrix.yaml:5:14");
    expect(ended.stderr).toMatch(
      /modle is no axis of this matrix[\s\S]*at {3}matrix\.yaml:7:7[\s\S]*did you mean model\?/,
    );
    expect(readdirSync(rig.dir)).toEqual(["matrix.yaml"]);
  });
});

/** Another byte in the middle, of the same size. */
function flip(file: string): void {
  const bytes = readFileSync(file);
  const at = bytes.length >> 1;
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  writeFileSync(file, bytes);
}

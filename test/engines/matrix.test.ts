import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { afterAll, expect, it } from "vitest";
import type { MatrixResult, StepResult } from "../../src/build/matrix/events.ts";
import { openEngine } from "../../src/formats/engine-dir.ts";
import { Rig } from "../support/rig.ts";
import { ROOT } from "../support/sources.ts";
import { describeTensorRT } from "../support/tensorrt.ts";

describeTensorRT("a matrix of TensorRT-RTX engines", python => {
  const rig = new Rig();
  afterAll(() => rig.close());

  const matrix = (max: number): string => `
models: { gpt2: ${join(ROOT, "test/fixtures/models/gpt2-shapes")} }
targets: { ampere: { compute_capabilities: 86 }, blackwell: { compute_capabilities: 120 } }
defaults: { backend: tensorrt_rtx, python: ${python}, max_seq_len: ${max}, max_input_len: 41 }
matrix: { precision: float16, target: [ampere, blackwell] }
`;

  async function build(max: number): Promise<MatrixResult> {
    rig.file("matrix.yaml", matrix(max));
    const ended = await rig.run(["matrix", "matrix.yaml", "--json", "--workers", "2"]);
    expect(ended.code, ended.stdout + ended.stderr).toBe(0);
    return ended.stdout
      .trim()
      .split("\n")
      .map(line => JSON.parse(line))
      .find(({ event }) => event === "result");
  }

  const done = ({ steps }: MatrixResult): readonly StepResult[] => steps.filter(({ state }) => state === "done");

  it("converts once, writes each graph once, and builds each engine for each SM", async () => {
    const cold = await build(61);
    const labels = done(cold).map(({ label }) => label);
    expect(labels.filter(label => label === "convert")).toHaveLength(1);
    expect(labels.filter(label => label.startsWith("graph ")).toSorted()).toEqual(["graph llm/rank0", "graph visual"]);
    expect(labels.filter(label => label.startsWith("engine "))).toHaveLength(4);
    for (const [name, sm] of [
      ["ampere", 86],
      ["blackwell", 120],
    ] as const) {
      const { manifest } = await openEngine(join(rig.dir, `engines/gpt2-float16-${name}`));
      expect(manifest.target?.sm).toEqual([sm]);
      expect(manifest.parts.map(({ built }) => (built?.bytes ?? 0) > 100_000)).toEqual([true, true]);
    }
    expect(done(await build(61))).toEqual([]);
  });

  it("builds the decoders alone again when only their profiles change, and nothing when they change back", async () => {
    const labels = done(await build(53)).map(({ label }) => label);
    expect(labels.toSorted()).toEqual(["cell", "cell", "engine llm/rank0", "engine llm/rank0", "plan", "plan"]);
    expect(done(await build(61)).map(({ label }) => label)).toEqual(["cell", "cell"]);
  });

  it("gives a directory that differs from a plain build in nothing but TensorRT's own output", async () => {
    const dir = join(rig.dir, "engines/gpt2-float16-ampere");
    const built = await rig.run([
      ...["build", "--checkpoint_dir", checkpointOf(rig.dir), "--output_dir", "plain", "--backend", "tensorrt_rtx"],
      ...["--python", python, "--compute_capabilities", "86", "--max_seq_len", "61", "--max_input_len", "41"],
    ]);
    expect(built.code, built.stderr).toBe(0);
    const own = /\.engine$|^logs\/|^mmtrt\.json$/;
    const plain = Object.entries(bytesOf(join(rig.dir, "plain"))).filter(([file]) => !own.test(file));
    const cell = Object.entries(bytesOf(dir)).filter(([file]) => !own.test(file));
    expect(cell).toEqual(plain);
    expect(Object.keys(bytesOf(dir))).toEqual(Object.keys(bytesOf(join(rig.dir, "plain"))));
  });
});

function checkpointOf(dir: string): string {
  const steps = join(dir, ".mmtrt/cache/steps/convert");
  const [prefix = ""] = readdirSync(steps);
  const [key = ""] = readdirSync(join(steps, prefix));
  return join(steps, prefix, key, "files");
}

function bytesOf(dir: string): Readonly<Record<string, string>> {
  const files = readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name));
  const hash = (file: string): string => createHash("sha256").update(readFileSync(file)).digest("hex");
  return Object.fromEntries(files.sort().map(file => [relative(dir, file), hash(file)]));
}

import { appendFile, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { openEngine } from "../../../src/formats/engine-dir.ts";
import { stampProblems } from "../../../src/formats/engine-stamp.ts";
import { openRunnable } from "../../../src/runtime/runnable.ts";
import { buildTo, convertTo, Workspace } from "../../support/pipeline.ts";
import { ROOT } from "../../support/sources.ts";
import { fakePlan, StandIn } from "../../support/standin.ts";

const work = new Workspace();
afterAll(() => work.clean());

let dir: string;
beforeEach(async () => {
  const standin = new StandIn({ engine: fakePlan("ftrt", [10, 16, 0, 72]) });
  const checkpoint = await convertTo(work, join(ROOT, "test/fixtures/parity/llava_mqa"), "float16");
  dir = await buildTo(
    work,
    checkpoint,
    { backend: "tensorrt", max_input_len: 60, max_seq_len: 90 },
    { env: standin.env },
  );
});

const problems = async () => stampProblems(await openEngine(dir));

describe("the stamp of an engine directory", () => {
  it("fits what was built, and ONNX Runtime may run its float16 graphs", async () => {
    expect(await problems()).toEqual([]);
    expect((await openRunnable(dir)).manifest.target?.tensorrt).toBe("10.16.0.72");
  });

  it("does not fit a graph with one more byte, an engine cut short, or files of each other; all are told", async () => {
    await appendFile(join(dir, "llm/rank0.onnx"), "x");
    await writeFile(
      join(dir, "visual/model.engine"),
      (await readFile(join(dir, "visual/model.engine"))).subarray(0, 19),
    );
    expect((await problems()).map(({ code, what }) => `${code} ${what.slice(dir.length)}`)).toEqual([
      expect.stringMatching(/^BLD006 \/llm\/rank0\.onnx has the SHA-256 [0-9a-f]{12}…, the manifest says/),
      "BLD006 /visual/model.engine has 19 bytes, the manifest says 989",
    ]);
    await rename(join(dir, "visual/model.onnx"), join(dir, "llm/rank0.onnx"));
    await writeFile(join(dir, "visual/model.onnx"), "");
    await expect(openRunnable(dir)).rejects.toThrow(/BLD006.*rank0\.onnx[\s\S]*BLD006.*model\.onnx/);
  });

  const changeManifest = async (change: (manifest: Record<string, unknown>) => Record<string, unknown>) => {
    const manifest = JSON.parse(await readFile(join(dir, "mmtrt.json"), "utf8"));
    await writeFile(join(dir, "mmtrt.json"), JSON.stringify({ ...manifest, ...change(manifest) }));
  };

  it("with plugins is whole while the library that it names has the same ABI, and refused with another or none", async () => {
    const abi = "4f9c".repeat(16);
    const library = join(dir, "libmmtrt_plugins.so");
    await changeManifest(({ target, options }) => ({
      target: { ...(target as object), plugin_abi: abi },
      options: { ...(options as object), plugins: [library] },
    }));
    const at = join(dir, "mmtrt.json: target.plugin_abi");
    expect(await problems()).toMatchObject([
      { code: "BLD006", at, what: expect.stringContaining("cannot be read (ENOENT)") },
    ]);
    // The mark lies across the end of the first MiB, where reading is cut in two.
    await writeFile(library, `${"x".repeat((1 << 20) - 40)}mmtrt-plugin-abi:${abi}\0`);
    expect(await problems()).toEqual([]);
    await writeFile(library, `mmtrt-plugin-abi:${"0".repeat(64)}`);
    await expect(openRunnable(dir)).rejects.toThrow(/BLD006.*built with plugins of ABI 4f9c.* has ABI 0000/);
    await writeFile(library, "another library");
    expect(await problems()).toMatchObject([{ what: expect.stringContaining("holds none of them") }]);
  });

  it("of no form that can be compared is refused", async () => {
    for (const target of [{}, { tensorrt: "10.16.0.72", sm: 86, plugin_abi: null }, "10.16", { plugin_abi: 19 }]) {
      await changeManifest(() => ({ target }));
      await expect(openEngine(dir)).rejects.toThrow(/BLD003.*target is not/);
    }
    const noHash = (part: object): object => ({ ...part, onnx_sha256: undefined });
    const noTime = (part: object): object => ({ ...part, built: { bytes: 989 } });
    for (const spoil of [noHash, noTime]) {
      await changeManifest(({ parts }) => ({ target: null, parts: (parts as object[]).map(spoil) }));
      await expect(openEngine(dir)).rejects.toThrow(/BLD003.*parts is incomplete/);
    }
  });

  it("of another layout is refused, whatever else is right", async () => {
    const manifest = JSON.parse(await readFile(join(dir, "mmtrt.json"), "utf8"));
    await writeFile(join(dir, "mmtrt.json"), JSON.stringify({ ...manifest, format: 2 }));
    await expect(openRunnable(dir)).rejects.toThrow(/BLD003.*format is 2; this version reads 1/);
  });
});

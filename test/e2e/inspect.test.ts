import { cpSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { encodeModel } from "../../src/formats/onnx/schema.ts";
import { Rig } from "../support/rig.ts";
import { ROOT } from "../support/sources.ts";

const rig = new Rig();
afterAll(() => rig.close());

const fixture = join(ROOT, "test/fixtures/parity/llava_wide");
cpSync(fixture, join(rig.dir, "model"), { recursive: true });

/** Header of a safetensors file: name → dtype and shape, read independently of the code under test. */
function headerOf(file: string): Readonly<Record<string, { dtype: string; shape: readonly number[] }>> {
  const bytes = readFileSync(file);
  const header = JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE())).toString("utf8"));
  delete header.__metadata__;
  return header;
}

async function inspect(path: string): Promise<Record<string, unknown>> {
  const { code, stdout } = await rig.run(["inspect", path, "--json"]);
  expect(code).toBe(0);
  const events = stdout
    .trimEnd()
    .split("\n")
    .map(line => JSON.parse(line) as Record<string, unknown>);
  return events.at(-1) ?? {};
}

const graph = {
  name: "tiny",
  node: [
    { opType: "MatMul", input: ["x", "w"], output: ["h"], attribute: [] },
    { opType: "Attention", domain: "mmtrt", input: ["h"], output: ["y"], attribute: [] },
  ],
  initializer: [
    {
      name: "w",
      dims: [19, 3],
      dataType: 10,
      dataLocation: 1,
      externalData: [
        { key: "location", value: "w.safetensors" },
        { key: "offset", value: "8" },
        { key: "length", value: "114" },
      ],
    },
  ],
  input: [
    { name: "x", type: { tensorType: { elemType: 1, shape: { dim: [{ dimParam: "batch" }, { dimValue: 19 }] } } } },
  ],
  output: [
    { name: "y", type: { tensorType: { elemType: 16, shape: { dim: [{ dimParam: "batch" }, { dimValue: 3 }] } } } },
  ],
};
const model = {
  irVersion: 10,
  producerName: "test",
  producerVersion: "1",
  opsetImport: [{ domain: "", version: 23 }],
  functions: [],
  metadataProps: [],
  graph,
};

describe("mmtrt inspect", () => {
  it("counts a model's tensors as its file's header does, and shows its sizes", async () => {
    const shapes = Object.values(headerOf(join(fixture, "model.safetensors"))).map(({ shape }) =>
      shape.reduce((a, b) => a * b, 1),
    );
    const found = await inspect("model");
    expect(found).toMatchObject({ event: "result", kind: "model", supported: true, model_type: "llava" });
    expect(found.tensors).toEqual([
      {
        dtype: "float16",
        tensors: shapes.length,
        parameters: shapes.reduce((a, b) => a + b, 0),
        bytes: 2 * shapes.reduce((a, b) => a + b, 0),
      },
    ]);
    const { stdout } = await rig.run(["inspect", "model"]);
    expect(stdout).toMatch(
      /^model: Hugging Face model\n\n {2}architecture {2}LlavaForConditionalGeneration \(model_type llava\)\n/,
    );
    expect(stdout).toContain("16 visual features");
  });

  it("lists every tensor with --tensors", async () => {
    const { stdout } = await rig.run(["inspect", "model/model.safetensors", "--tensors"]);
    expect(stdout).toMatch(/^model\/model\.safetensors: safetensors file\n/);
    for (const [name, { shape }] of Object.entries(headerOf(join(fixture, "model.safetensors")))) {
      expect(stdout).toMatch(
        new RegExp(`^ {2}${name.replaceAll(".", "\\.")} +float16 +\\[${shape.join(", ")}\\] `, "m"),
      );
    }
  });

  it("reports a model that cannot be converted as far as it can be read, with a warning", async () => {
    const config = JSON.parse(readFileSync(join(fixture, "config.json"), "utf8"));
    cpSync(fixture, join(rig.dir, "strange"), { recursive: true });
    rig.file("strange/config.json", JSON.stringify({ ...config, architectures: ["StrangeForCausalLM"] }));
    const { code, stdout, stderr } = await rig.run(["inspect", "strange"]);
    expect(code).toBe(0);
    expect(stderr).toMatch(/^warning\[SPC008\]: architecture "StrangeForCausalLM"/);
    expect(stdout).toContain("float16");
  });

  it("recognises a checkpoint that convert wrote", async () => {
    expect((await rig.run(["convert", "model", "--output_dir", "ckpt", "--tp_size", "2"])).code).toBe(0);
    const found = await inspect("ckpt");
    expect(found).toMatchObject({
      kind: "checkpoint",
      architecture: "LlavaForConditionalGeneration",
      options: { dtype: "float16", tp_size: 2 },
    });
    const { stdout } = await rig.run(["inspect", "ckpt"]);
    expect(stdout).toMatch(/^ {2}rank1\.safetensors +\d/m);
    expect(stdout).toContain("2 (tp_size 2, pp_size 1)");
  });

  it("shows an engine directory's limits, profiles and parts", async () => {
    expect((await rig.run(["convert", "model", "--output_dir", "ckpt1"])).code).toBe(0);
    const built = await rig.run([
      "build",
      "--checkpoint_dir",
      "ckpt1",
      "--output_dir",
      "engines",
      "--max_batch_size",
      "3",
      "--max_input_len",
      "64",
    ]);
    expect([built.code, built.stderr]).toEqual([0, expect.not.stringContaining("error")]);
    const found = await inspect("engines");
    expect(found).toMatchObject({
      kind: "engine",
      manifest: { backend: "onnxruntime", model: { num_visual_features: 16 } },
    });
    const { stdout } = await rig.run(["inspect", "engines"]);
    expect(stdout).toMatch(/^ {2}max_multimodal_len +48$/m);
    expect(stdout).toMatch(/^ {2}input_ids +input +int32 +\[batch, seq\] +1×1 … 2×32 … 3×64 +1×1 … 2×1 … 3×1$/m);
    expect(stdout).toMatch(/^ {2}past_key_0 /m);
    expect(stdout).not.toMatch(/past_key_1/);
    expect(await inspect("engines/llm/rank0.onnx")).toMatchObject({
      kind: "onnx",
      external: [{ file: "rank0.safetensors", size: expect.any(Number) }],
    });
  });

  it("shows an ONNX graph's inputs, outputs, operators and external weights", async () => {
    rig.file("tiny.bin", encodeModel(model));
    const found = await inspect("tiny.bin");
    expect(found).toMatchObject({
      kind: "onnx",
      inputs: [{ name: "x", dtype: "float32", shape: "[batch, 19]" }],
      outputs: [{ name: "y", dtype: "bfloat16", shape: "[batch, 3]" }],
      operators: [
        { op: "MatMul", nodes: 1 },
        { op: "mmtrt::Attention", nodes: 1 },
      ],
      external: [{ file: "w.safetensors", bytes: 114 }],
    });
    expect((await rig.run(["inspect", "tiny.bin"])).stdout).toContain("114 B in w.safetensors (missing)");
    rig.file("w.safetensors", "x");
    expect((await rig.run(["inspect", "tiny.bin"])).stdout).not.toContain("missing");
  });

  it.each([
    ["nothing at all", undefined, "CKP001"],
    ["a text", "hello", "CKP061"],
    ["an empty file", "", "CKP061"],
    ["an ONNX file cut short", encodeModel(model).subarray(0, 60), "CKP060"],
    ["bytes that begin like ONNX", new Uint8Array([8, 10, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255]), "CKP060"],
    ["a safetensors header longer than the file", new Uint8Array([255, 255, 255, 0, 0, 0, 0, 0, 0x7b]), "CKP0"],
    ["a GGUF file that ends after its magic", "GGUF", "CKP0"],
  ])("refuses %s", async (name, bytes, expected) => {
    const file = `${name.replaceAll(" ", "-")}.x`;
    if (bytes !== undefined) rig.file(file, bytes);
    const { code, stdout, stderr } = await rig.run(["inspect", file]);
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toContain(`error[${expected}`);
    expect(stderr).not.toContain("bug in mmtrt");
  });

  it("refuses a directory without a model", async () => {
    rig.file("empty/readme.txt", "x");
    expect((await rig.run(["inspect", "empty"])).stderr).toMatch(/^error\[CKP061\]: empty is a directory without/);
  });
});

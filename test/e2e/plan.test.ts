import { afterAll, describe, expect, it } from "vitest";
import { Rig } from "../support/rig.ts";

const rig = new Rig();
afterAll(() => rig.close());

describe("mmtrt plan", () => {
  it("shows a published model's engines, profiles and memory without weights, and how to get there", async () => {
    const { code, stdout, stderr } = await rig.run(["plan", "--model", "llava-1.5-7b-hf"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain("7.06 billion (7063427072)");
    expect(stdout).toMatch(/visual features +576 an image/);
    expect(stdout).toMatch(/max_batch_size +1 +8 +recommended for llava-1.5-7b-hf/);
    // 8 × 1536 tokens × 2 × 32 heads × 128 × 32 layers × 2 B = 6 GiB.
    expect(stdout).toMatch(/kv_cache +6\.00 GiB +batch 8 × beams 1 × 2 × kv_heads 32 × max_seq_len 1536/);
    expect(stdout).toContain("mmtrt convert llava-hf/llava-1.5-7b-hf --output_dir checkpoint --dtype float16\n");
    expect(stdout).toContain("mmtrt build --checkpoint_dir checkpoint --output_dir engines --backend tensorrt");
  });

  it("takes the user's word before the recommended one, lengths and batch each as a whole", async () => {
    const argv = ["plan", "--model", "meta-llama/Llama-2-70b-hf", "--tp_size", "8", "--max_seq_len", "2000", "--json"];
    const { code, stdout } = await rig.run([...argv, "--max_batch_size", "3", "--gpu", "H100"]);
    const events = stdout
      .trim()
      .split("\n")
      .map(line => JSON.parse(line));
    const result = events.at(-1);
    expect(code).toBe(0);
    expect(result).toMatchObject({ event: "result", parameters: 68976648192, published: { name: "llama-2-70b" } });
    expect(result.options).toMatchObject({
      max_batch_size: 3,
      max_seq_len: 2000,
      max_input_len: 1024,
      backend: "tensorrt",
    });
    expect(result.memory.ranks).toHaveLength(8);
    expect(result.steps).toEqual([]);
    expect(result.next[0]).toBe(
      "mmtrt convert meta-llama/Llama-2-70b-hf --output_dir checkpoint --dtype float16 --tp_size 8",
    );
  });

  it("tells what images of given sizes bring, of a model and of an engine with its own limits", async () => {
    const model = new URL("../fixtures/parity/idefics3_gqa", import.meta.url).pathname;
    const result = async (...argv: readonly string[]) => {
      const { code, stdout } = await rig.run(["plan", ...argv, "--images", "640x480,19x989", "--json"]);
      expect(code).toBe(0);
      return JSON.parse(stdout.trim().split("\n").at(-1) as string).images;
    };
    const images = [
      { image: "640x480", tiles: 10, features: 40, tokens: 64 },
      { image: "19x989", tiles: 4, features: 16, tokens: 28 },
    ];
    expect(await result(model, "--max_batch_size", "3")).toMatchObject({
      unit: "tiles",
      images,
      rows: { together: 56, any: 120 },
    });
    await rig.run(["convert", model, "--output_dir", "tiled", "--dtype", "float32", "--quiet"]);
    const limits = [
      "--max_batch_size",
      "2",
      "--max_input_len",
      "100",
      "--max_seq_len",
      "120",
      "--max_multimodal_len",
      "50",
    ];
    await rig.run(["build", "--checkpoint_dir", "tiled", "--output_dir", "tiled-engine", ...limits, "--quiet"]);
    const engine = await result("tiled-engine");
    expect(engine.images.map(({ batch }: { batch: number }) => batch)).toEqual([1, 2]);
    expect(engine.limits).toMatchObject({ max_multimodal_len: 50, max_visual_batch: 10 });
    const wrong = await rig.run(["plan", model, "--images", "640"]);
    expect(wrong).toMatchObject({ code: 1, stdout: "" });
    expect(wrong.stderr).toMatch(/BLD091.*"640" is no size/s);
  }, 60_000);

  it("plans a directory with nothing but a config.json, the model beside it, and what convert made of it", async () => {
    const small = ["--layers", "1", "--shrink", "99", "--vocab_size", "97"];
    await rig.run(["synth", "model", "--preset", "t5-small", ...small]);
    await rig.run(["convert", "model", "--output_dir", "checkpoint"]);
    const { readFileSync } = await import("node:fs");
    rig.file("bare/config.json", readFileSync(`${rig.dir}/model/config.json`, "utf8"));
    const limits = ["--max_encoder_input_len", "19", "--max_input_len", "1", "--max_seq_len", "11", "--json"];
    const plans = await Promise.all(["bare", "model", "checkpoint"].map(dir => rig.run(["plan", dir, ...limits])));
    expect(plans.map(({ code }) => code)).toEqual([0, 0, 0]);
    const [bare, model, checkpoint] = plans.map(({ stdout }) => JSON.parse(stdout.trim().split("\n").at(-1) ?? ""));
    for (const plan of [model, checkpoint]) {
      expect(plan.memory).toEqual(bare.memory);
      expect(plan.engines.map(({ graph }: { graph: object }) => graph)).toEqual(
        bare.engines.map(({ graph }: { graph: object }) => graph),
      );
    }
    expect(checkpoint.next).toHaveLength(1);
  });

  it("plans a visual part with the language model of another directory, with weights, with config.json alone, and converted", async () => {
    const small = ["--shrink", "32", "--quiet"];
    await rig.run(["synth", "blip2", "--preset", "blip2-opt-2.7b", "--layers", "1", ...small]);
    await rig.run(["synth", "opt", "--preset", "opt-2.7b", "--layers", "3", ...small]);
    await rig.run(["synth", "words", "--preset", "opt-2.7b", "--layers", "3", "--vocab_size", "97", ...small]);
    const { readFileSync } = await import("node:fs");
    for (const name of ["blip2", "opt"])
      rig.file(`bare-${name}/config.json`, readFileSync(`${rig.dir}/${name}/config.json`, "utf8"));
    const merged = await rig.run(["convert", "blip2", "--llm_dir", "opt", "--output_dir", "merged", "--quiet"]);
    expect(merged).toMatchObject({ code: 0 });
    const limits = ["--max_input_len", "40", "--max_seq_len", "51", "--json"];
    const plans = await Promise.all(
      [["merged"], ["blip2", "--llm_dir", "opt"], ["bare-blip2", "--llm_dir", "bare-opt"]].map(argv =>
        rig.run(["plan", ...argv, ...limits]),
      ),
    );
    expect(plans.map(({ code }) => code)).toEqual([0, 0, 0]);
    const [converted, ...planned] = plans.map(({ stdout }) => JSON.parse(stdout.trim().split("\n").at(-1) ?? ""));
    expect(converted.memory.ranks).toHaveLength(1);
    for (const plan of planned) {
      expect(plan.memory).toEqual(converted.memory);
      expect(plan.parameters).toBe(converted.parameters);
    }
    expect(planned[0].next[0]).toContain("--llm_dir opt");
    const alone = await rig.run(["plan", "blip2", ...limits]);
    expect(JSON.parse(alone.stdout.trim().split("\n").at(-1) ?? "").parameters).toBeLessThan(converted.parameters);
  });

  it.each([
    [
      "a converted checkpoint",
      ["merged", "--llm_dir", "opt"],
      /CKP063.*--llm_dir is given, and merged is a converted/s,
    ],
    ["a text-only model", ["opt", "--llm_dir", "opt"], /CKP070.*opt has no text_config/s],
    ["a directory that is not there", ["blip2", "--llm_dir", "nowhere"], /CKP001.*nowhere/s],
    [
      "another family's language model",
      ["--model", "blip2-flan-t5-xl", "--llm_dir", "opt"],
      /CKP070.*model_type opt.*t5/s,
    ],
    ["another vocabulary", ["--model", "blip2-opt-2.7b", "--llm_dir", "words"], /CKP070.*vocab_size 97/s],
  ])("refuses --llm_dir for %s", async (_, argv, message) => {
    const { code, stdout, stderr } = await rig.run(["plan", ...argv]);
    expect([code, stdout]).toEqual([message.source.startsWith("CKP063") ? 2 : 1, ""]);
    expect(stderr).toMatch(message);
  });

  it("lists the models it knows", async () => {
    const { code, stdout } = await rig.run(["plan", "--list"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/nougat-base +349 million +588 +facebook\/nougat-base\n/);
    const { models } = JSON.parse((await rig.run(["plan", "--list", "--json"])).stdout);
    expect(models).toContainEqual(expect.objectContaining({ name: "vila1.5-3b", num_visual_features: 196 }));
  });

  it.each([
    [
      ["plan", "--model", "lava-1.5-7b-hf"],
      2,
      /error\[CKP057\].*\n.*\n.*\n.*did you mean llava-1\.5-7b-hf\? Known: bart-large-cnn/,
    ],
    [["plan"], 2, /error\[CKP063\]: no model is named/],
    [["plan", "gpt2"], 2, /error\[CKP063\]: there is no directory or file .*gpt2\n.*\n.*\n.*--model/],
    [["plan", ".", "--model", "gpt2"], 2, /error\[CKP063\]: both/],
    [["plan", "--model", "llama-2-7b", "--gpu", "T4"], 1, /error\[BLD009\]: rank 0 needs .* and T4 has/],
    [["plan", "--model", "opt-2.7b", "--pp_size", "2"], 1, /error\[CKP05\d\]/],
  ])("refuses %j", async (argv, exit, message) => {
    const { code, stderr } = await rig.run(argv);
    expect(stderr).toMatch(message);
    expect(code).toBe(exit);
  });
});

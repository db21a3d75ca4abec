import { existsSync } from "node:fs";
import { cp, mkdir, readdir, readFile, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openHf, openMeta } from "../../../src/checkpoint/open.ts";
import { writeSafetensors } from "../../../src/formats/safetensors.ts";
import { openTokenizer } from "../../../src/runtime/text/tokenizer.ts";
import { fromStored, type HfCheckpoint } from "../../../src/tensor/index.ts";
import { contents, copyFixture, expectedOf, FIXTURES, problemsOf, put, tempDir } from "../formats/fixtures.ts";

/** What `read` gives for an opened checkpoint, which is closed again. */
async function opened<T>(path: string, read: (checkpoint: HfCheckpoint) => T | Promise<T>): Promise<T> {
  const checkpoint = await openHf(path);
  try {
    return await read(checkpoint);
  } finally {
    await checkpoint.close();
  }
}

const tensorsOf = (path: string): ReturnType<typeof contents> => opened(path, c => contents(c.tensors, 3));
const LLAMA = join(FIXTURES, "llama");

/** The tiny LLaMA in shards of 7 tensors with an index, as transformers writes large models. */
async function sharded(): Promise<{ dir: string; map: Record<string, string> }> {
  const dir = await tempDir();
  const map: Record<string, string> = {};
  await opened(LLAMA, async ({ tensors }) => {
    const all = [...tensors.values()].map(fromStored);
    for (let i = 0; i * 7 < all.length; i++) {
      const shard = `model-0000${i + 1}-of-00003.safetensors`;
      await writeSafetensors(join(dir, shard), all.slice(i * 7, i * 7 + 7));
      for (const { name } of all.slice(i * 7, i * 7 + 7)) map[name] = shard;
    }
  });
  await put(dir, "config.json", "{}");
  await put(dir, "model.safetensors.index.json", JSON.stringify({ metadata: {}, weight_map: map }));
  return { dir, map };
}

describe("a Hugging Face directory", () => {
  it("opens with one safetensors file, its config and the files beside it", async () => {
    const dir = await tempDir();
    await copyFixture("dtypes.safetensors", dir, "model.safetensors");
    await put(dir, "config.json", '{"model_type": "llama"}');
    for (const name of [
      "tokenizer.json",
      "tokenizer.model",
      "chat_template.jinja",
      "preprocessor_config.json",
      "README.md",
      "model.py",
    ])
      await put(dir, name, "x");
    await opened(dir, async c => {
      expect(await contents(c.tensors)).toEqual(expectedOf("dtypes.safetensors"));
      expect(c).toMatchObject({ format: "safetensors", config: { model_type: "llama" }, warnings: [] });
      expect(c.extraFiles).toEqual([
        "chat_template.jinja",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer.model",
      ]);
      expect(c.weightFiles).toEqual([join(dir, "model.safetensors")]);
    });
  });

  it("opens with a PyTorch file, and safetensors is preferred where both are", async () => {
    const dir = await tempDir();
    await put(dir, "config.json", "{}");
    await copyFixture("legacy.bin", dir, "pytorch_model.bin");
    expect(await tensorsOf(dir)).toEqual(expectedOf("legacy.bin"));
    await copyFixture("types.safetensors", dir, "model.safetensors");
    expect(Object.keys(await tensorsOf(dir))).toContain("Q4_K");
  });

  it("opens with one weight file under another name, adapters and Meta's copies aside", async () => {
    const dir = await tempDir();
    await put(dir, "config.json", "{}");
    await copyFixture("dtypes.safetensors", dir, "weights.safetensors");
    await put(dir, "adapter_model.safetensors", "not read");
    await put(dir, "consolidated.safetensors", "not read");
    await put(dir, "training_args.bin", "not read");
    expect(await tensorsOf(dir)).toEqual(expectedOf("dtypes.safetensors"));
  });

  it("opens through the links of a Hugging Face cache", async () => {
    const cache = await tempDir();
    await mkdir(join(cache, "blobs"));
    await mkdir(join(cache, "snapshots"));
    await copyFixture("dtypes.safetensors", join(cache, "blobs"), "5f2a");
    await put(join(cache, "blobs"), "77aa", "{}");
    await symlink("../blobs/5f2a", join(cache, "snapshots", "model.safetensors"));
    await symlink("../blobs/77aa", join(cache, "snapshots", "config.json"));
    expect(await tensorsOf(join(cache, "snapshots"))).toEqual(expectedOf("dtypes.safetensors"));
    await rm(join(cache, "blobs", "5f2a"));
    expect(await problemsOf(() => openHf(join(cache, "snapshots")))).toMatch(
      /CKP001 .*model\.safetensors does not exist/,
    );
  });

  it("is refused with the line and column where config.json was cut short", async () => {
    const dir = await tempDir();
    await copyFixture("dtypes.safetensors", dir, "model.safetensors");
    await put(dir, "config.json", '{\n  "hidden_size": 40,\n  "vocab');
    expect(await problemsOf(() => openHf(dir))).toMatch(/CKP008 .*config\.json:3:9\)/);
  });

  it.each([
    ["nothing in it", {}, /CKP019 .*no weights are there/],
    ["no config.json", { "model.safetensors": "x" }, /CKP019 .*config\.json is missing/],
    [
      "shards and no index",
      { "config.json": "{}", "model-00001-of-00002.safetensors": "x", "model-00002-of-00002.safetensors": "x" },
      /CKP019 .*no index\.json/,
    ],
    [
      "two weight files",
      { "config.json": "{}", "a.safetensors": "x", "b.safetensors": "x" },
      /CKP019 .*2 weight files \(a\.safetensors, b\.safetensors\)/,
    ],
    ["Meta's files", { "params.json": "{}", "consolidated.00.pth": "x" }, /CKP019 .*--meta_ckpt_dir/],
    [
      "an LFS pointer",
      { "config.json": "{}", "model.safetensors": "version https://git-lfs.github.com/spec/v1\nsize 5\n" },
      /CKP004/,
    ],
    ["an empty file", { "config.json": "{}", "model.safetensors": "" }, /CKP003/],
  ] as const)("is refused with %s", async (_, files, expected) => {
    const dir = await tempDir();
    for (const [name, text] of Object.entries(files)) await put(dir, name, text);
    expect(await problemsOf(() => openHf(dir))).toMatch(expected);
  });

  it("is refused when it does not exist, or is a file that is no GGUF", async () => {
    const dir = await tempDir();
    expect(await problemsOf(() => openHf(join(dir, "none")))).toMatch(/CKP001 .*none does not exist/);
    expect(await problemsOf(async () => openHf(await put(dir, "model.onnx", "x")))).toMatch(/CKP019 .*it is a file/);
  });
});

describe("an index over shards", () => {
  it("gives every tensor of every shard, in the index's order", async () => {
    const { dir, map } = await sharded();
    expect(await tensorsOf(dir)).toEqual(await tensorsOf(LLAMA));
    await opened(dir, ({ tensors, weightFiles, warnings }) => {
      expect([...tensors.keys()]).toEqual(Object.keys(map));
      expect(weightFiles).toHaveLength(3);
      expect(warnings).toEqual([]);
    });
  });

  it.each([
    "../secret.safetensors",
    "/etc/passwd",
    "a/../../b.safetensors",
    "..\\b.safetensors",
    "C:\\b.safetensors",
    "",
  ])("is refused when it leads out of the directory: %j", async shard => {
    const dir = await tempDir();
    await put(dir, "config.json", "{}");
    await put(dir, "model.safetensors.index.json", JSON.stringify({ weight_map: { w: shard } }));
    expect(await problemsOf(() => openHf(dir))).toMatch(/CKP020 .*leads out of the directory/);
  });

  it.each([
    ['{"metadata": {}}', /CKP020 .*weight_map is not an object/],
    ['{"weight_map": {"w": 7}}', /CKP020 .*not a file name/],
    ['{"weight_map": {}}', /CKP020 .*names no tensor/],
    ['{"weight_map": {"w": "a.safetensors"', /CKP008 .*index\.json:1:37/],
  ])("is refused when it is %s", async (text, expected) => {
    const dir = await tempDir();
    await put(dir, "config.json", "{}");
    await put(dir, "model.safetensors.index.json", text);
    expect(await problemsOf(() => openHf(dir))).toMatch(expected);
  });

  it("names every missing shard at once, and who named it", async () => {
    const { dir } = await sharded();
    await rm(join(dir, "model-00001-of-00003.safetensors"));
    await rm(join(dir, "model-00003-of-00003.safetensors"));
    const error = await openHf(dir).catch(e => e);
    expect(error.problems.map((p: { code: string; why: string }) => `${p.code} ${p.why}`)).toEqual([
      expect.stringMatching(/^CKP001 .*index\.json names it/),
      expect.stringMatching(/^CKP001 .*index\.json names it/),
    ]);
  });

  it("is refused when a tensor is in another shard than it says", async () => {
    const { dir, map } = await sharded();
    const [name] = Object.keys(map) as [string];
    map[name] = "model-00002-of-00003.safetensors";
    map["no.such.tensor"] = "model-00001-of-00003.safetensors";
    await put(dir, "model.safetensors.index.json", JSON.stringify({ weight_map: map }));
    const problems = await problemsOf(() => openHf(dir));
    expect(problems).toMatch(
      /CKP021 tensor lm_head\.weight is not in model-00002.*; model-00001-of-00003\.safetensors has one/,
    );
    expect(problems).toMatch(/CKP021 tensor no\.such\.tensor is not in model-00001/);
  });

  it("warns about tensors that it does not name, and keeps them", async () => {
    const { dir, map } = await sharded();
    delete map["model.norm.weight"];
    await put(dir, "model.safetensors.index.json", JSON.stringify({ weight_map: map }));
    await opened(dir, ({ tensors, warnings }) => {
      expect(tensors.has("model.norm.weight")).toBe(true);
      expect(warnings.map(w => `${w.code} ${w.what}`)).toEqual([
        expect.stringMatching(/^CKP021 .*holds 1 tensors .*model\.norm\.weight/),
      ]);
    });
  });

  it("leads to PyTorch shards too", async () => {
    const dir = await tempDir();
    await put(dir, "config.json", "{}");
    await copyFixture("module.bin", dir, "a.bin");
    await copyFixture("protocol3.bin", dir, "b.bin");
    const weight_map = Object.fromEntries([
      ...Object.keys(expectedOf("module.bin")).map(name => [name, "a.bin"]),
      ...Object.keys(expectedOf("protocol3.bin")).map(name => [name, "b.bin"]),
    ]);
    await put(dir, "pytorch_model.bin.index.json", JSON.stringify({ weight_map }));
    expect(await tensorsOf(dir)).toEqual({ ...expectedOf("module.bin"), ...expectedOf("protocol3.bin") });
  });
});

describe("a GGUF file", () => {
  it("is the Hugging Face model that it was made from: names, rows, config", async () => {
    const hf = JSON.parse(await readFile(join(LLAMA, "config.json"), "utf8"));
    await opened(join(FIXTURES, "llama.gguf"), async c => {
      expect(await contents(c.tensors, 5)).toEqual(await tensorsOf(LLAMA));
      const { rope_parameters, dtype, ...same } = hf;
      for (const key of [
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "vocab_size",
        "rms_norm_eps",
        "max_position_embeddings",
        "tie_word_embeddings",
        "hidden_act",
        "attention_bias",
        "mlp_bias",
        "bos_token_id",
        "eos_token_id",
        "architectures",
      ]) {
        expect({ key, value: c.config[key] }).toEqual({ key, value: same[key] });
      }
      expect(c.config.rope_theta).toBe(rope_parameters.rope_theta);
      expect(c.config.torch_dtype).toBe(dtype);
    });
  });

  it("brings a byte-level tokenizer that gives the ids of the one it was made from", async () => {
    const { texts, byte_level } = JSON.parse(await readFile(join(FIXTURES, "tokens.json"), "utf8"));
    const tokenizer = await generatedTokenizer("llama.gguf");
    expect(texts.map((text: string) => tokenizer.encode(text))).toEqual(byte_level);
    expect(byte_level.map((ids: number[]) => tokenizer.decode(ids, { keepSpecialTokens: true }))).toEqual(texts);
    expect(tokenizer.config).toMatchObject({
      bos_token: "<|im_start|>",
      eos_token: "<|im_end|>",
      chat_template: "{% for m in messages %}{{ m.content }}{% endfor %}",
    });
  });

  it("brings a SentencePiece tokenizer that joins pieces by their scores", async () => {
    const { texts, spm } = JSON.parse(await readFile(join(FIXTURES, "tokens.json"), "utf8"));
    const tokenizer = await generatedTokenizer("spm.gguf");
    expect(texts.map((text: string) => tokenizer.encode(text))).toEqual(spm);
    expect(tokenizer.decode(tokenizer.encode("the cat, hello 漢"))).toBe("the cat, hello 漢");
  });

  it("opens as the only weights of a directory, whose own tokenizer files come first", async () => {
    const dir = await tempDir();
    await copyFixture("llama.gguf", dir, "model-q8.gguf");
    await put(dir, "tokenizer.json", "{}");
    await opened(dir, c => {
      expect(c).toMatchObject({ dir, format: "gguf", extraFiles: ["tokenizer.json"] });
      expect([...c.generatedFiles.keys()]).toEqual(["tokenizer_config.json"]);
    });
  });

  it.each([
    [
      "an unknown key of the model",
      "llama.rope.freq_base",
      "llama.rope.freq_bass",
      /CKP018 llama\.rope\.freq_bass is a key this version does not know/,
    ],
    ["no count of layers", "llama.block_count", "other.block_count", /CKP016 llama\.block_count is missing/],
    [
      "another architecture",
      "\x05\0\0\0\0\0\0\0llama",
      "\x05\0\0\0\0\0\0\0gemma",
      /CKP017 general\.architecture is "gemma"; readable: llama/,
    ],
    ["no embedding", "token_embd.weight", "token_xmbd.weight", /CKP016 .*token_embd\.weight is missing/],
  ])("is refused with %s", async (_, from, to, expected) => {
    const bytes = await readFile(join(FIXTURES, "llama.gguf"));
    const at = bytes.indexOf(from, 0, "latin1");
    expect(at).toBeGreaterThan(0);
    bytes.write(to, at, "latin1");
    const path = await put(await tempDir(), "x.gguf", bytes);
    expect(await problemsOf(() => openHf(path))).toMatch(expected);
  });

  it("says LLaMA 3.1's scaling of rotary frequencies, which it holds as a tensor, in config.json's words", async () => {
    await opened(join(FIXTURES, "llama31.gguf"), ({ config, tensors }) => {
      expect(config.rope_scaling).toEqual({
        rope_type: "llama3",
        factor: 32,
        low_freq_factor: 1,
        high_freq_factor: 4,
        original_max_position_embeddings: 8192,
      });
      expect([...tensors.keys()].some(name => name.includes("rope"))).toBe(false);
      expect(config.eos_token_id).toEqual([2, 5]);
      expect(config.tie_word_embeddings).toBe(true);
    });
  });

  it("is refused when its rotary frequencies follow no rule that is known", async () => {
    const bytes = await readFile(join(FIXTURES, "llama31.gguf"));
    bytes.writeFloatLE(31, bytes.length - 4);
    const path = await put(await tempDir(), "x.gguf", bytes);
    expect(await problemsOf(() => openHf(path))).toMatch(/CKP018 rope_freqs\.weight does not follow/);
  });

  it("warns and brings no tokenizer when its text-splitting rules are not known", async () => {
    const bytes = await readFile(join(FIXTURES, "llama.gguf"));
    bytes.write("smallm", bytes.indexOf("smollm"));
    await opened(await put(await tempDir(), "x.gguf", bytes), c => {
      expect(c.generatedFiles.size).toBe(0);
      expect(c.warnings.map(w => `${w.code} ${w.what}`)).toEqual([expect.stringMatching(/^CKP023 .*"smallm"/)]);
    });
  });
});

async function generatedTokenizer(fixture: string): ReturnType<typeof openTokenizer> {
  const dir = await tempDir();
  await opened(join(FIXTURES, fixture), async c => {
    for (const [name, text] of c.generatedFiles) await put(dir, name, text);
  });
  expect((await readdir(dir)).sort()).toEqual(["tokenizer.json", "tokenizer_config.json"]);
  return openTokenizer(dir);
}

describe("Meta's files", () => {
  it("are the Hugging Face model, slices joined and rows put in its order", async () => {
    const meta = await openMeta(join(FIXTURES, "meta"));
    expect(await contents(meta.tensors, 5)).toEqual(await tensorsOf(LLAMA));
    expect(meta.config).toMatchObject({
      hidden_size: 48,
      intermediate_size: 80,
      num_key_value_heads: 2,
      rope_theta: 50000,
      torch_dtype: "float16",
    });
    expect(meta.config.vocab_size).toBe(JSON.parse(await readFile(join(LLAMA, "config.json"), "utf8")).vocab_size);
    expect(meta.shards.map(shard => shard.size)).toEqual([22, 22]);
    expect(meta.params.multiple_of).toBe(16);
    await meta.close();
  });

  it("are the model of the shared golden", async context => {
    const goldens = join(import.meta.dirname, "../../../../shared/goldens/hf");
    if (!existsSync(goldens)) context.skip("the folder shared/goldens is not beside the checkout");
    const meta = await openMeta(join(goldens, "llama_meta1"));
    expect(await contents(meta.tensors)).toEqual(await tensorsOf(join(goldens, "llama_mha")));
    await meta.close();
  });

  it.each([
    [
      "a file is missing",
      (dir: string) => rm(join(dir, "consolidated.00.pth")),
      /CKP019 .*consolidated\.01\.pth where number 0 is expected/,
    ],
    ["params.json is missing", (dir: string) => rm(join(dir, "params.json")), /CKP001 .*params\.json/],
    [
      "params.json lacks sizes",
      (dir: string) => put(dir, "params.json", '{"dim": -5}'),
      /CKP022 dim is -5.*\nCKP022 n_heads is missing/,
    ],
    [
      "params.json has an unknown key",
      (dir: string) => put(dir, "params.json", '{"dim": 48, "n_layers": 2, "n_heads": 6, "moe": {}}'),
      /CKP022 moe is a key this version does not know/,
    ],
    [
      "the files are of two models",
      (dir: string) => cp(join(FIXTURES, "module.bin"), join(dir, "consolidated.01.pth")),
      /CKP056 .*not in consolidated\.01\.pth/,
    ],
    [
      "heads do not fit the rows",
      (dir: string) => put(dir, "params.json", '{"dim": 48, "n_layers": 2, "n_heads": 5}'),
      /CKP056 .*not whole heads of 9\.6/,
    ],
  ] as const)("are refused when %s", async (_, damage, expected) => {
    const dir = await tempDir();
    await cp(join(FIXTURES, "meta"), dir, { recursive: true });
    await damage(dir);
    expect(await problemsOf(() => openMeta(dir))).toMatch(expected);
  });
});

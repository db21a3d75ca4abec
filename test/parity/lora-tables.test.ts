import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { FilePool } from "../../src/formats/file.ts";
import { openSafetensors, writeSafetensors } from "../../src/formats/safetensors.ts";
import { openSession } from "../../src/runtime/session.ts";
import { fromStored, type TensorRecipe } from "../../src/tensor/index.ts";
import { FIXTURES } from "../support/describe-parity.ts";
import { expectClose } from "../support/expect-close.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { type ReferenceTensor, readReference, row } from "../support/reference.ts";

const LORA = new URL("../fixtures/lora/llama_gqa/", import.meta.url).pathname;
const [TABLES, FIRST] = [join(LORA, "tables"), join(LORA, "first")];
const MODEL = join(FIXTURES, "llama_gqa");
const LIMITS = { max_batch_size: 3, max_input_len: 16, max_seq_len: 40, max_lora_rank: 8 };
const work = new Workspace();
afterAll(() => work.clean());

type Split = Partial<NonNullable<NonNullable<Parameters<typeof convertTo>[3]>["parallel"]>>;

function parallel(given: Split): Parameters<typeof convertTo>[3] {
  const whole = { tpSize: 1, ppSize: 1, parallelEmbedding: false, embeddingShardingDim: 0, shareEmbedding: false };
  return { parallel: { ...whole, ...given } as Required<Split> };
}

/** Prompts of the parity fixture without their padding, and the logits of PEFT's merged model for each. */
async function load(): Promise<{ readonly prompts: number[][]; readonly merged: ReferenceTensor }> {
  const base = await readReference(join(FIXTURES, "llama_gqa", "reference.safetensors"));
  const reference = await readReference(join(TABLES, "reference.safetensors"));
  const [ids, mask] = ["b3.input_ids", "b3.attention_mask"].map(name => base.get(name) as ReferenceTensor);
  const prompts = [0, 1, 2].map(i =>
    [...row(ids as ReferenceTensor, i)].filter((_, at) => row(mask as ReferenceTensor, i)[at] === 1),
  );
  return { prompts, merged: reference.get("logits") as ReferenceTensor };
}

/** The adapter with some of its tensors changed. */
async function changed(change: (recipe: TensorRecipe) => TensorRecipe): Promise<string> {
  const dir = join(await work.dir(), "changed");
  await mkdir(dir);
  await copyFile(join(TABLES, "adapter_config.json"), join(dir, "adapter_config.json"));
  const pool = new FilePool();
  const { tensors } = await openSafetensors(pool, join(TABLES, "adapter_model.safetensors"));
  const recipes = [...tensors.values()].map(tensor => change(fromStored(tensor)));
  await writeSafetensors(join(dir, "adapter_model.safetensors"), recipes);
  await pool.close();
  return dir;
}

/** The base model with the adapter's tables in the place of its own, as a Hugging Face directory. */
async function baseWithTables(): Promise<string> {
  const dir = await work.dir();
  await copyFile(join(MODEL, "config.json"), join(dir, "config.json"));
  const pool = new FilePool();
  const { tensors } = await openSafetensors(pool, join(MODEL, "model.safetensors"));
  const { tensors: own } = await openSafetensors(pool, join(TABLES, "adapter_model.safetensors"));
  const recipes = [...tensors.values()].map(tensor => {
    const table = own.get(`base_model.model.${tensor.name}`);
    return { ...fromStored(table ?? tensor), name: tensor.name };
  });
  await writeSafetensors(join(dir, "model.safetensors"), recipes, { metadata: { format: "pt" } });
  await pool.close();
  return dir;
}

const zeroed = (name: string): Promise<string> =>
  changed(recipe => {
    if (!recipe.name.includes(name)) return recipe;
    const { ranges: _, ...rest } = recipe;
    return { ...rest, readRows: async (...rows) => new Uint8Array((await recipe.readRows(...rows)).byteLength) };
  });

describe("an adapter that brings lm_head and embed_tokens", () => {
  it.each<[string, Split]>([
    ["on one rank", {}],
    ["with tp_size 2", { tpSize: 2 }],
    ["with tp_size 2 and the embedding split by rows", { tpSize: 2, parallelEmbedding: true }],
    [
      "with tp_size 2 and the embedding split by columns",
      { tpSize: 2, parallelEmbedding: true, embeddingShardingDim: 1 },
    ],
    ["with tp_size 2 and pp_size 3", { tpSize: 2, ppSize: 3 }],
  ])("%s: logits are those of the model that PEFT merged it into", async (_, split) => {
    const checkpoint = await convertTo(work, MODEL, "float32", parallel(split));
    const engine = await buildTo(work, checkpoint, { ...LIMITS, lora_dir: [FIRST, TABLES] });
    const { prompts, merged } = await load();
    const session = await openSession(engine, { threads: 1 });
    const { logits } = await session.prefill(prompts, undefined, [1, 1, 1]);
    expectClose(logits, merged.values, 1e-4, "logits with the adapter");
    await session.close();
  });

  it("gives its tables to rows of task −1 and of other adapters too", async () => {
    const { prompts } = await load();
    const [tables, base] = await Promise.all([
      convertTo(work, MODEL, "float32"),
      convertTo(work, await baseWithTables(), "float32"),
    ]);
    const mixed = await openSession(await buildTo(work, tables, { ...LIMITS, lora_dir: [FIRST, TABLES] }), {
      threads: 1,
    });
    const plain = await openSession(await buildTo(work, base, { ...LIMITS, lora_dir: [FIRST] }), { threads: 1 });
    const [a, b] = [
      await mixed.prefill(prompts, undefined, [-1, 0, -1]),
      await plain.prefill(prompts, undefined, [-1, 0, -1]),
    ];
    expectClose(a.logits, b.logits, 1e-4, "rows without the adapter");
    await mixed.close();
    await plain.close();
  });

  it("keeps the checkpoint's file as it was, and has what its own graph points into beside it", async () => {
    const checkpoint = await convertTo(work, MODEL, "float16");
    const engine = await buildTo(work, checkpoint, { ...LIMITS, lora_dir: [TABLES] });
    const [before, after] = await Promise.all(
      [checkpoint, join(engine, "llm")].map(dir => readFile(join(dir, "rank0.safetensors"))),
    );
    expect(after?.equals(before as Buffer)).toBe(true);
    const pool = new FilePool();
    const { tensors } = await openSafetensors(pool, join(engine, "llm", "rank0.tables.safetensors"));
    expect([...tensors.values()].map(({ name, dtype, shape }) => [name, dtype, shape])).toEqual(
      expect.arrayContaining([
        ["transformer.vocab_embedding.weight", "float16", [131, 48]],
        ["lm_head.weight", "float16", [131, 48]],
      ]),
    );
    await pool.close();
  });
});

describe("adapters given at run time", () => {
  it("may be those that bring the engine's own tables, beside others", async () => {
    const { prompts, merged } = await load();
    const engine = await buildTo(work, await convertTo(work, MODEL, "float32"), {
      ...LIMITS,
      lora_dir: [TABLES],
      lora_plugin: "auto",
      lora_target_modules: ["attn_q", "attn_k", "attn_v", "attn_dense", "mlp_h_to_4h", "mlp_4h_to_h", "mlp_gate"],
    });
    const session = await openSession(engine, { threads: 1, loraDirs: [FIRST, TABLES] });
    const { logits } = await session.prefill(prompts, undefined, [1, 1, 1]);
    expectClose(logits, merged.values, 1e-4, "logits with the adapter as the second");
    await session.close();
  });

  it("are refused with other tables than the engine's, and without any where it has some", async () => {
    const engine = await buildTo(work, await convertTo(work, MODEL, "float32"), {
      ...LIMITS,
      lora_dir: [TABLES, FIRST],
    });
    const open = (...loraDirs: string[]): Promise<unknown> => openSession(engine, { threads: 1, loraDirs });
    await expect(open(await zeroed("lm_head"))).rejects.toThrow(
      /LRA019.*of its own; the engine has others \(embed_tokens and lm_head of another adapter\)/s,
    );
    await expect(open(FIRST)).rejects.toThrow(/LRA019.*none of the given adapters brings them/s);
  });

  it("are refused with tables where the engine has its checkpoint's", async () => {
    const engine = await buildTo(work, await convertTo(work, MODEL, "float32"), { ...LIMITS, lora_plugin: "auto" });
    await expect(openSession(engine, { threads: 1, loraDirs: [TABLES] })).rejects.toThrow(
      /LRA019.*the engine has those of its checkpoint.*mmtrt build --lora_dir/s,
    );
  });
});

describe("a table that changed", () => {
  it("is another build", async () => {
    const checkpoint = await convertTo(work, MODEL, "float32");
    const engine = await buildTo(work, checkpoint, { ...LIMITS, lora_dir: [TABLES] });
    const fingerprint = async (dir: string): Promise<string> =>
      (JSON.parse(await readFile(join(dir, "mmtrt.json"), "utf8")) as { parts: { fingerprint: string }[] }).parts[0]
        ?.fingerprint ?? "";
    const dir = await zeroed("embed_tokens");
    await expect(buildTo(work, checkpoint, { ...LIMITS, lora_dir: [dir], output_dir: engine })).rejects.toThrow(
      /BLD001/,
    );
    const other = await buildTo(work, checkpoint, { ...LIMITS, lora_dir: [dir] });
    expect(await fingerprint(other)).not.toBe(await fingerprint(engine));
    const again = await buildTo(work, checkpoint, { ...LIMITS, lora_dir: [TABLES] });
    expect(await fingerprint(again)).toBe(await fingerprint(engine));
  });

  it("is not run when it changed after the build", async () => {
    const engine = await buildTo(work, await convertTo(work, MODEL, "float32"), { ...LIMITS, lora_dir: [TABLES] });
    const file = join(engine, "lora", "0", "adapter_model.safetensors");
    await writeFile(file, await readFile(join(await zeroed("lm_head"), "adapter_model.safetensors")));
    await expect(openSession(engine, { threads: 1 })).rejects.toThrow(/LRA016/);
  });
});

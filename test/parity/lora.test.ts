import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { mergeLora } from "../../src/checkpoint/lora/merge.ts";
import { openHf } from "../../src/checkpoint/open.ts";
import { writeSafetensors } from "../../src/formats/safetensors.ts";
import { openSession, type Session } from "../../src/runtime/session.ts";
import { cast, fromStored } from "../../src/tensor/index.ts";
import { FIXTURES } from "../support/describe-parity.ts";
import { expectClose } from "../support/expect-close.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { type ReferenceTensor, readReference, row } from "../support/reference.ts";

const LORA = new URL("../fixtures/lora/", import.meta.url).pathname;
const work = new Workspace();
afterAll(() => work.clean());

type Reference = ReadonlyMap<string, ReferenceTensor>;

/** Left-padded rows without their padding. */
function promptsOf(reference: Reference): number[][] {
  const [ids, mask] = ["b3.input_ids", "b3.attention_mask"].map(name => reference.get(name) as ReferenceTensor);
  return [0, 1, 2].map(i =>
    [...row(ids as ReferenceTensor, i)].filter((_, at) => row(mask as ReferenceTensor, i)[at] === 1),
  );
}

/** The fixture's weights are float16, and the reference was merged in float32: the sum must not be rounded again. */
async function float32Copy(dir: string): Promise<string> {
  const [copy, source] = [await work.dir(), await openHf(dir)];
  const recipes = [...source.tensors.values()].map(tensor => cast(fromStored(tensor), "float32"));
  await writeSafetensors(join(copy, "model.safetensors"), recipes, { metadata: { format: "pt" } });
  await copyFile(join(dir, "config.json"), join(copy, "config.json"));
  await source.close();
  return copy;
}

/** Row i of the batch from the reference that its adapter has. */
async function expectRows(session: Session, prompts: number[][], tasks: number[], references: ReferenceTensor[]) {
  const decoding = await session.prefill(prompts, undefined, tasks);
  for (const [i, task] of tasks.entries()) {
    const logits = decoding.logits.subarray(i * decoding.vocab, (i + 1) * decoding.vocab);
    expectClose(logits, row(references[task + 1] as ReferenceTensor, i), 1e-4, `row ${i} with adapter ${task}`);
  }
}

describe.each(["llama_gqa", "qwen2_mqa", "opt_pre", "gpt2_usual"])("adapters of %s", name => {
  const [first, second] = ["first", "second"].map(adapter => join(LORA, name, adapter)) as [string, string];
  const limits = { max_batch_size: 3, max_input_len: 16, max_seq_len: 40, max_lora_rank: 8 };
  const load = async () => {
    const base = await readReference(join(FIXTURES, name, "reference.safetensors"));
    const merged = await readReference(join(LORA, name, "reference.safetensors"));
    const references = [base.get("b3.logits"), merged.get("first"), merged.get("second")] as ReferenceTensor[];
    return { prompts: promptsOf(base), references };
  };

  it("give each row of a batch the logits of the model that PEFT merged its own adapter into", async () => {
    const checkpoint = await convertTo(work, join(FIXTURES, name), "float32");
    const { prompts, references } = await load();
    const session = await openSession(await buildTo(work, checkpoint, { ...limits, lora_dir: [first, second] }), {
      threads: 1,
    });
    expect(session.adapters).toEqual(["first", "second"]);
    for (const tasks of [
      [0, -1, 1],
      [1, 1, 1],
      [0, 0, 0],
      [-1, -1, -1],
    ])
      await expectRows(session, prompts, tasks, references);
    await session.close();
  });

  it("are swapped when an engine is opened, without a build", async () => {
    const checkpoint = await convertTo(work, join(FIXTURES, name), "float32");
    const { prompts, references } = await load();
    const engine = await buildTo(work, checkpoint, { ...limits, lora_plugin: "auto" });
    const [base, one, two] = references as [ReferenceTensor, ReferenceTensor, ReferenceTensor];
    const swapped = await openSession(engine, { threads: 1, loraDirs: [second, first] });
    await expectRows(swapped, prompts, [0, -1, 1], [base, two, one]);
    await swapped.close();
    const alone = await openSession(engine, { threads: 1 });
    expect(alone.adapters).toEqual([]);
    await expectRows(alone, prompts, [-1, -1, -1], [base]);
    await alone.close();
  });

  it("follow their rows when beams are copied and swapped", async () => {
    const checkpoint = await convertTo(work, join(FIXTURES, name), "float32");
    const { prompts } = await load();
    const session = await openSession(await buildTo(work, checkpoint, { ...limits, lora_dir: [first, second] }), {
      threads: 1,
    });
    const [prompt] = prompts as [number[]];
    const decoding = await session.prefill([prompt, prompt], undefined, [0, 1]);
    decoding.select([1, 0, 1]);
    await decoding.step([3, 3, 3]);
    const straight = await session.prefill([prompt, prompt, prompt], undefined, [1, 0, 1]);
    await straight.step([3, 3, 3]);
    expectClose(decoding.logits, straight.logits, 1e-5, "logits after a swap");
    await session.close();
  });
});

describe.each(["llama_gqa", "qwen2_mqa", "opt_pre", "gpt2_usual"])("lora merge of %s", name => {
  it.each(["first", "second"])("writes the model that PEFT's merge of %s gives", async adapter => {
    const outputDir = join(await work.dir(), "merged");
    const modelDir = await float32Copy(join(FIXTURES, name));
    const { files, added } = await mergeLora({ modelDir, adapterDir: join(LORA, name, adapter), outputDir });
    expect(files).toEqual(["model.safetensors"]);
    expect(added).toBeGreaterThan(3);
    const base = await readReference(join(FIXTURES, name, "reference.safetensors"));
    const merged = await readReference(join(LORA, name, "reference.safetensors"));
    const checkpoint = await convertTo(work, outputDir, "float32");
    const limits = { max_batch_size: 3, max_input_len: 16, max_seq_len: 40 };
    const session = await openSession(await buildTo(work, checkpoint, limits), { threads: 1 });
    const { logits } = await session.prefill(promptsOf(base));
    expectClose(logits, merged.get(adapter)?.values ?? [], 1e-4, "logits of the merged model");
    await session.close();
  });
});

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, it } from "vitest";
import { mergeLora } from "../../src/checkpoint/lora/merge.ts";
import { openHf } from "../../src/checkpoint/open.ts";
import { writeSafetensors } from "../../src/formats/safetensors.ts";
import { openSession } from "../../src/runtime/session.ts";
import type { TensorRecipe } from "../../src/tensor/index.ts";
import { FIXTURES } from "../support/describe-parity.ts";
import { expectClose } from "../support/expect-close.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { seededValues } from "../support/seeded-weights.ts";

const PROMPTS = [[5, 17, 33, 9, 41], [7, 7, 12], [3]];
const LIMITS = { max_batch_size: 3, max_input_len: 16, max_seq_len: 40 };
const RANK = 3;
const work = new Workspace();
afterAll(() => work.clean());

/** An adapter of every layer's modules whose names end so, with seeded values. */
async function adapterOf(modelDir: string, targets: readonly string[]): Promise<string> {
  const [dir, source] = [join(await work.dir(), "adapter"), await openHf(modelDir)];
  const random = (name: string, shape: readonly [number, number], deviation: number): TensorRecipe => {
    const values = seededValues(name, shape, 7, deviation, 0);
    const readRows = async (start: number, end: number): Promise<Uint8Array> =>
      new Uint8Array(values.slice(start * shape[1], end * shape[1]).buffer);
    return { name, dtype: "float32", shape, sources: [name], readRows };
  };
  const halves = [...source.tensors.values()].flatMap(({ name, shape: [out = 0, width = 0] }) => {
    const path = name.replace(/\.weight$/, "");
    if (!name.endsWith(".weight") || !targets.some(target => path.endsWith(`.${target}`))) return [];
    return [
      random(`base_model.model.${path}.lora_A.weight`, [RANK, width], 0.3),
      random(`base_model.model.${path}.lora_B.weight`, [out, RANK], 0.15),
    ];
  });
  await source.close();
  await mkdir(dir);
  await writeSafetensors(join(dir, "adapter_model.safetensors"), halves, { metadata: { format: "pt" } });
  const config = { peft_type: "LORA", r: RANK, lora_alpha: 5, target_modules: targets, bias: "none" };
  await writeFile(join(dir, "adapter_config.json"), JSON.stringify(config));
  return dir;
}

async function logitsOf(checkpoint: string, lora_dir: readonly string[]): Promise<Float32Array> {
  const build = { ...LIMITS, ...(lora_dir.length > 0 && { lora_dir, max_lora_rank: RANK }) };
  const session = await openSession(await buildTo(work, checkpoint, build), { threads: 1 });
  const { logits } = await session.prefill(PROMPTS, undefined, lora_dir.length > 0 ? [0, 0, 0] : undefined);
  await session.close();
  return logits.slice() as Float32Array;
}

/**
 * B's rows lie as the base weight's do, which are brought into another order; merged, the sum is taken before that. The
 * merged weight is rounded to the file's float16 once more.
 */
describe.each([
  ["internlm2_gqa", ["wqkv", "wo", "w1", "w2", "w3"], 2],
  ["phi3_longrope", ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"], 1],
  ["qwen3_window", ["q_proj", "k_proj", "o_proj", "up_proj"], 1],
  ["gemma2_plain", ["q_proj", "v_proj", "gate_proj", "down_proj"], 2],
] as const)("an adapter of %s", (name, targets, tpSize) => {
  it(`gives the logits of the merged model, on ${tpSize} ranks too`, async () => {
    const modelDir = join(FIXTURES, name);
    const adapterDir = await adapterOf(modelDir, targets);
    const merged = join(await work.dir(), "merged");
    await mergeLora({ modelDir, adapterDir, outputDir: merged });
    const want = await logitsOf(await convertTo(work, merged, "float32"), []);
    for (const size of new Set([1, tpSize])) {
      const split = {
        tpSize: size,
        ppSize: 1,
        parallelEmbedding: false,
        embeddingShardingDim: 0 as const,
        shareEmbedding: false,
      };
      const checkpoint = await convertTo(work, modelDir, "float32", { parallel: split });
      expectClose(await logitsOf(checkpoint, [adapterDir]), want, 6e-3, `tp_size ${size}`);
    }
  });
});

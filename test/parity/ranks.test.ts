import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openHf } from "../../src/checkpoint/open.ts";
import { readModel } from "../../src/models/registry.ts";
import type { BuildOptions } from "../../src/options/tables/build.ts";
import { searchTokens } from "../../src/runtime/generate/greedy.ts";
import { GENERATE_DEFAULTS } from "../../src/runtime/generate/options.ts";
import { openSession } from "../../src/runtime/session.ts";
import { type Case, FIXTURES, featuresOf, promptsOf } from "../support/describe-parity.ts";
import { expectClose } from "../support/expect-close.ts";
import { Workspace } from "../support/pipeline.ts";
import { type Split, splitEngine } from "../support/ranks.ts";
import { type ReferenceTensor, readReference, row } from "../support/reference.ts";

/** What all ranks compute together, beside transformers' own numbers for the model in one piece. */
const CASES: readonly (readonly [string, Split, string])[] = [
  ["llama_gqa", { tp: 2 }, "131 words padded to 132"],
  ["llama_gqa", { tp: 6 }, "2 key/value heads, each on three ranks"],
  ["llama_gqa", { pp: 3 }, "one layer a stage"],
  ["llama_gqa", { tp: 2, pp: 3 }, "pairs of ranks in three stages"],
  ["llama_tied_bias", { tp: 2, table: 0, shared: true }, "one table of 89 rows, split and used twice; biases"],
  ["llama_tied_bias", { tp: 3, table: 1 }, "columns of the table gathered"],
  ["opt_proj", { tp: 4 }, "learned positions, projections, biases"],
  ["opt_proj", { tp: 2, table: 0 }, "a table that cannot be split stays whole"],
  ["gpt2_usual", { tp: 2, table: 0, shared: true }, "words and positions split by rows"],
  ["gpt2_usual", { tp: 3, table: 1 }, "words and positions split by columns"],
  ["gpt2_usual", { tp: 2, pp: 3, table: 0 }, "a split table on the first stage alone"],
  ["qwen2_tied", { tp: 2, pp: 2, table: 1 }, "biases of q, k and v alone"],
  ["mistral_slides", { tp: 2 }, "a sliding window"],
  ["llava_full", { tp: 2, table: 0 }, "rows of the prompt table beside a table split by rows"],
  ["llava_full", { tp: 6, table: 1 }, "rows of the prompt table beside a table split by columns"],
  ["blip2_opt", { tp: 4, table: 0 }, "queries of a Q-Former in front of OPT"],
  ["gpt2mm_clip", { tp: 2, pp: 2 }, "features in front of GPT-2, in two stages"],
  ["gpt2mm_clip", { tp: 4 }, "one head a rank"],
  ["vila_linear", { tp: 2 }, "the language part of VILA, a directory of its own"],
  ["vila_downsample", { tp: 2, pp: 2, table: 0 }, "tokens of two by two patches beside a split table"],
  ["vila_mlp", { tp: 2, table: 1 }, "and by columns"],
  ["llava_siglip", { pp: 2 }, "SigLIP's features on the first stage"],
  ["llava_mistral", { tp: 2, pp: 3 }, "one key/value head on two ranks, in three stages"],
  ["internvl_qwen2", { tp: 2, pp: 2 }, "tiles in front of Qwen2"],
  ["onevision_qwen2", { tp: 2, pp: 2 }, "grids of tiles in front of Qwen2"],
  ["gemma_gqa", { tp: 3, table: 0, shared: true }, "one table, scaled where it is looked up"],
  ["gemma2_plain", { tp: 2, pp: 3 }, "windows by layer, norms of outputs"],
  ["gemma3_types", { pp: 3 }, "two kinds of rope, one layer a stage"],
  ["qwen3_mqa", { tp: 5 }, "norms of q and k whole, one key/value head for all"],
  ["qwen3_window", { pp: 3 }, "layers with a window and without"],
  ["phi3_window", { pp: 3 }, "fused weights of q, k, v and of gate and up"],
  ["smollm3_window", { tp: 2, pp: 3 }, "layers without rope, counted over all stages"],
];

const work = new Workspace();
afterAll(() => work.clean());

describe.each(CASES)("%s as %j: %s", (name, split) => {
  it("has transformers' logits and greedy tokens, batch 1 and 3", async () => {
    const model = await open(name, split);
    for (const batch of ["b1", "b3"]) {
      const prompts = promptsOf(model, batch);
      const decoding = await model.session.prefill(prompts, await featuresOf(model, batch));
      expectClose(decoding.logits, tensor(model, `${batch}.logits`).values, 1e-4, `${batch} logits`);
      const answers = await searchTokens(decoding, prompts, { ...GENERATE_DEFAULTS, maxNewTokens: 12 });
      const expected = prompts.map((_, i) => [...row(tensor(model, `${batch}.tokens`), i)].slice(0, 12));
      expect(answers.map(({ tokenIds }) => [...tokenIds])).toEqual(expected);
    }
    await model.session.close();
  });
});

describe.each(["static", "paged"] as const)("ranks with a %s cache", kv_cache_type => {
  it("give transformers' tokens too", async () => {
    const model = await open("llama_gqa", { tp: 2, pp: 3 }, { kv_cache_type });
    const prompts = promptsOf(model, "b3");
    const decoding = await model.session.prefill(prompts);
    expectClose(decoding.logits, tensor(model, "b3.logits").values, 1e-4, "logits");
    const answers = await searchTokens(decoding, prompts, { ...GENERATE_DEFAULTS, maxNewTokens: 5 });
    const expected = prompts.map((_, i) => [...row(tensor(model, "b3.tokens"), i)].slice(0, 5));
    expect(answers.map(({ tokenIds }) => [...tokenIds])).toEqual(expected);
    await model.session.close();
  });
});

async function open(name: string, split: Split, build: Partial<BuildOptions> = {}): Promise<Case> {
  const dir = join(FIXTURES, name);
  const source = await openHf(dir);
  const { spec } = readModel(source.config);
  await source.close();
  const reference = await readReference(join(dir, "reference.safetensors"));
  const longest = reference.get("b3.input_ids")?.shape[1] ?? 0;
  const pictures = (reference.get("b3.images")?.values ?? [1, 1, 1]) as ArrayLike<number>;
  const rows = Array.from(pictures).reduce((sum, count) => sum + count, 0) * (spec.vision?.numVisualFeatures ?? 0);
  const limits = { max_batch_size: 3, max_input_len: longest + 3, max_seq_len: longest + 16 };
  const given = {
    ...limits,
    ...(rows > 0 && spec.visualTokens === undefined && { max_multimodal_len: rows }),
    ...build,
  };
  const engine = await splitEngine(work, dir, split, { build: given });
  return {
    session: await openSession(engine, { threads: 1 }),
    reference,
    imageTokenId: spec.imageTokenId,
    vocabSize: spec.language.vocabSize,
  };
}

function tensor({ reference }: Case, name: string): ReferenceTensor {
  const found = reference.get(name);
  if (found === undefined) throw new Error(`the reference has no ${name}`);
  return found;
}

import { cp, open, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { FilePool } from "../../src/formats/file.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import { Assistant } from "../../src/runtime/assistant.ts";
import { GENERATE_DEFAULTS } from "../../src/runtime/generate/options.ts";
import { firstRankDifference, verifyRanks } from "../../src/runtime/ranks/verify.ts";
import { readReference } from "../../src/runtime/reference.ts";
import { openRunnable } from "../../src/runtime/runnable.ts";
import { type StageResult, verify } from "../../src/runtime/verify.ts";
import { Workspace } from "../support/pipeline.ts";
import { type Split, splitEngine } from "../support/ranks.ts";
import { fixtureDir } from "./runtime-fixtures.ts";

/** The small trained LLaVA, dealt out: its answers can be right or wrong. */
const MODEL = fixtureDir("models/llava-shapes");
const LIMITS = { max_batch_size: 8, max_input_len: 130, max_seq_len: 200, max_multimodal_len: 81 * 8 };
const ORT = { threads: 1 };
const signal = new AbortController().signal;

const work = new Workspace();
const engines = new Map<string, Promise<string>>();
afterAll(() => work.clean());

function engineOf(split: Split): Promise<string> {
  const key = JSON.stringify(split);
  const engine = engines.get(key) ?? splitEngine(work, MODEL, split, { build: LIMITS });
  engines.set(key, engine);
  return engine;
}

interface HfAnswer {
  readonly image: string;
  readonly question: string;
  readonly text: string;
}

describe.each<readonly [Split]>([[{ tp: 2 }], [{ pp: 2 }], [{ tp: 2, pp: 2, table: 0 }]])(
  "the trained LLaVA as %j",
  split => {
    it("answers in a batch of 8 what transformers does, and leaves nothing beside its graphs", async () => {
      const dir = await engineOf(split);
      const { answers } = JSON.parse(await readFile(join(MODEL, "heldout", "expected_hf.json"), "utf8")) as {
        readonly answers: readonly HfAnswer[];
      };
      const batch = answers.slice(0, 8);
      const assistant = await Assistant.open(dir, ORT);
      const questions = await Promise.all(
        batch.map(async ({ question, image }) => ({
          ids: await assistant.promptIds(question, 1, "auto"),
          pixels: [await assistant.image(join(MODEL, "heldout", image))],
        })),
      );
      const got = await assistant.ask(questions, { generate: { ...GENERATE_DEFAULTS, maxNewTokens: 40 }, at: "test" });
      await assistant.close();
      expect(got.answers.map(({ text }) => text)).toEqual(batch.map(({ text }) => text));
      expect((await readdir(join(dir, "llm"))).filter(name => name.startsWith("."))).toEqual([]);
    });

    it("is equal to transformers stage by stage", async () => {
      const assistant = await Assistant.open(await engineOf(split), ORT);
      const reference = await readReference(join(MODEL, "reference.safetensors"));
      const results = await verify({ assistant, reference, tolerance: undefined, ort: ORT, signal });
      await assistant.close();
      expect(results.map(({ stage, state }) => [stage, state])).toEqual(
        [
          ...["preprocess", "prompt", "vision", "projector", "prompt_table"],
          ...["layer 0", "layer 1", "layer 2", "layer 3", "logits", "tokens", "tokens_free"],
        ].map(stage => [stage, "equal"]),
      );
    });
  },
);

describe("verify --ranks", () => {
  it.each([
    ["rank1", "transformer.vocab_embedding.weight", { tp: 2, table: 0 }, /^prompt: inputs_embeds differs .*off by/],
    [
      "rank1",
      "transformer.layers.2.attention.dense.weight",
      { tp: 2 },
      /^prompt: layers\.2\/attention all-reduce differs/,
    ],
    [
      "rank2",
      "transformer.layers.1.mlp.proj.weight",
      { tp: 2, pp: 2, table: 0 },
      /^prompt: layers\.3\/mlp all-reduce differs/,
    ],
    ["rank1", "transformer.layers.0.input_layernorm.weight", { pp: 2 }, /^prompt: layers\.2 differs/],
    ["rank1", "lm_head.weight", { tp: 2 }, /^prompt: logits differs/],
  ] as const)("names where %s goes wrong when its %s is damaged", async (rank, tensor, split, expected) => {
    const damaged = join(await work.dir(), "engine");
    await cp(await engineOf(split), damaged, { recursive: true });
    await double(join(damaged, "llm", `${rank}.safetensors`), tensor);
    const problem = firstRankDifference(await compare(damaged, await engineOf({})), damaged);
    expect(problem).toMatchObject({ code: "NUM006", what: expect.stringMatching(expected) });
  });

  it("sees that ranks disagree where one adds another bias", async () => {
    const model = fixtureDir("parity/llama_tied_bias");
    const damaged = await splitEngine(work, model, { tp: 2 });
    await double(join(damaged, "llm", "rank1.safetensors"), "transformer.layers.1.attention.dense.bias");
    const results = await compare(damaged, await splitEngine(work, model, {}));
    const differs = results.filter(({ state }) => state === "differs").map(({ stage }) => stage);
    expect(differs[0]).toBe("prompt: layers.1/mlp all-reduce");
    expect(differs).toContain("prompt: layers.1 of rank 1");
    expect(differs).toContain("prompt: logits");
  });

  it("refuses two directories that are not one model, split and in one piece", async () => {
    const [split, single] = [await engineOf({ tp: 2 }), await engineOf({})];
    const other = await splitEngine(work, fixtureDir("parity/llama_gqa"), { tp: 2 });
    await expect(compare(single, single)).rejects.toThrow(/NUM005.* has 1 rank; expected several \(at --engine_dir/);
    await expect(compare(split, split)).rejects.toThrow(/NUM005.* has 2 ranks; expected 1 \(at --unsharded/);
    await expect(compare(other, single)).rejects.toThrow(/NUM005.*the ranks are LlamaForCausalLM, 3 layers of 48/);
  });
});

async function compare(ranked: string, whole: string): Promise<readonly StageResult[]> {
  const [ranks, one] = [await openRunnable(ranked), await openRunnable(whole)];
  return verifyRanks({ ranked: ranks, whole: one, tolerance: undefined, steps: 1, ort: ORT, signal });
}

/** Doubles every value of a float32 tensor in a file of its own. */
async function double(file: string, name: string): Promise<void> {
  const pool = new FilePool();
  const tensor = (await openSafetensors(pool, file)).tensors.get(name);
  if (tensor?.range === undefined) throw new Error(`${file} has no ${name}`);
  const bytes = Uint8Array.from(await tensor.readRows(0, tensor.shape[0] as number));
  await pool.close();
  const doubled = new Float32Array(bytes.buffer).map(value => value * 2);
  const handle = await open(file, "r+");
  await handle.write(new Uint8Array(doubled.buffer), 0, doubled.byteLength, tensor.range.offset);
  await handle.close();
}

import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { afterAll, describe, expect, it, type TestContext } from "vitest";
import type { Question } from "../../src/runtime/answer.ts";
import type { Assistant } from "../../src/runtime/assistant.ts";
import { GENERATE_DEFAULTS } from "../../src/runtime/generate/options.ts";
import type { AnswerSession } from "../../src/runtime/generation.ts";
import { FIXTURES, promptsOf } from "./describe-parity.ts";
import { buildTo, convertTo, Workspace } from "./pipeline.ts";
import { type ReferenceTensor, readReference } from "./reference.ts";
import { inRunner, NO_RUNNER } from "./runner.ts";
import { expectSame, MODELS } from "./runner-answers.ts";

const work = new Workspace();

/** The first held-out questions, which are the same for every trained model. */
async function heldOut(assistant: Assistant): Promise<readonly Question[]> {
  const file = join(MODELS, "llava-shapes/heldout/questions.jsonl");
  const lines = (await readFile(file, "utf8")).split("\n").slice(0, 3);
  const asked = lines.map(line => JSON.parse(line) as { image: string; question: string });
  return Promise.all(
    asked.map(({ image, question }) => assistant.question(question, [resolve(file, "..", image)], "auto")),
  );
}

/** Pictures of a batch as a reference has them. */
function picturesOf(
  { shape, values }: ReferenceTensor,
  count: number,
): { height: number; width: number; data: Float32Array }[] {
  const [, channels, height, width] = shape as [number, number, number, number];
  const size = channels * height * width;
  const all = Float32Array.from(values as Float32Array);
  return Array.from({ length: count }, (_, i) => ({ height, width, data: all.subarray(i * size, (i + 1) * size) }));
}

/** Families whose prompts or pictures are not LLaVA's, in the native runner. */
export function describeRunnerFamilies(runnerOf: () => string | undefined): void {
  const needed = (context: TestContext): string => runnerOf() ?? context.skip(NO_RUNNER);

  describe("families in the native runner", () => {
    afterAll(() => work.clean());

    it.for(["smolvlm-shapes", "internvl-shapes"])("%s: pictures cut into tiles", async (model, context) => {
      const runner = needed(context);
      const checkpoint = await convertTo(work, join(MODELS, model), "float32");
      const limits = { max_batch_size: 3, max_beam_width: 2, max_input_len: 400, max_seq_len: 420 };
      const dir = await buildTo(work, checkpoint, limits);
      await expectSame(runner, dir, heldOut, { greedy: {}, beams: { numBeams: 2 } });
    });

    it.for([
      // Images of 9 tokens begin at 2 and 12 of a row, and elsewhere in rows that are padded.
      ["gemma3_images_wide", { kv_cache_type: "continuous", use_paged_context_fmha: true, max_num_tokens: 3 * 20 }],
      ["gemma3_images_wide", { kv_cache_type: "paged", use_paged_context_fmha: true, max_num_tokens: 3 * 20 }],
      ["paligemma2_window", { kv_cache_type: "continuous" }],
    ] as const)(
      "%s: tokens that see each other, in pieces that cut none of them: %o",
      async ([model, build], context) => {
        const runner = needed(context);
        const source = join(FIXTURES, model);
        const limits = { max_batch_size: 3, max_input_len: 40, max_seq_len: 50, ...build };
        const dir = await buildTo(work, await convertTo(work, source, "float32"), limits);
        const reference = await readReference(join(source, "reference.safetensors"));
        const { session } = await inRunner(dir, runner);
        const { image_token_id: imageTokenId, vocab_size: vocabSize } = session.engine.manifest.model;
        const prompts = promptsOf({ reference, imageTokenId: imageTokenId ?? -1, vocabSize }, "b3");
        const images = [...(reference.get("b3.images")?.values ?? [1, 1, 1])].reduce((sum, count) => sum + count, 0);
        const { generated } = await session.generate({
          prompts,
          seen: prompts,
          pixels: picturesOf(reference.get("pixel_values") as ReferenceTensor, images),
          tasks: prompts.map(() => -1),
          options: { ...GENERATE_DEFAULTS, maxNewTokens: 8 },
          hooks: {},
        });
        await session.close();
        const expected = reference.get("b3.tokens")?.values as Int32Array;
        expect(generated.map(({ tokenIds }) => [...tokenIds])).toEqual(
          prompts.map((_, row) => [...expected.subarray(row * 32, row * 32 + 8)]),
        );
      },
    );
  });
}

/** A request of words alone, as long as asked for. */
async function generate(
  session: AnswerSession,
  rows: number,
  promptTokens: number,
  maxNewTokens: number,
): ReturnType<AnswerSession["generate"]> {
  const prompts = Array.from({ length: rows }, (_, row) => Array.from({ length: promptTokens }, (_, i) => 5 + row + i));
  const options = { ...GENERATE_DEFAULTS, eosTokenIds: [], maxNewTokens };
  return session.generate({ prompts, seen: prompts, pixels: [], tasks: prompts.map(() => -1), options, hooks: {} });
}

/** What the runner does with memory: what it says when there is too little, and where steps are recorded. */
export function describeRunnerMemory(runnerOf: () => string | undefined): void {
  const needed = (context: TestContext): string => runnerOf() ?? context.skip(NO_RUNNER);
  const engine = async (build: object): Promise<string> => {
    const checkpoint = await convertTo(work, join(MODELS, "llava-shapes"), "float32");
    return buildTo(work, checkpoint, { max_batch_size: 4, max_input_len: 120, max_seq_len: 150, ...build });
  };

  describe("memory of the native runner", () => {
    it("that does not suffice is a problem with the number to lower each parameter to, and the runner goes on", async context => {
      const runner = needed(context);
      const { session } = await inRunner(await engine({}), runner);
      // Nothing on this side is asked whether the engine has room for so many.
      const most = 2 ** 28;
      const refused = await generate(session, 4, 19, most).catch((error: Error) => error);
      const [, lower] =
        /RUN054.*for keys and values cannot be had.*lower --max_new_tokens from 268435456 to (\d+)/s.exec(
          String(refused),
        ) ?? [];
      expect(Number(lower), String(refused)).toBeGreaterThan(0);
      // Room for what else the machine does meanwhile.
      await expect(generate(session, 4, 19, Math.min(most, Number(lower) * 4))).rejects.toThrow(/RUN054/);
      expect((await generate(session, 4, 19, 3)).generated).toHaveLength(4);
      await session.close();
    });

    it("lies where it lay for the next request of the same size, so that recorded steps are found again", async context => {
      const runner = needed(context);
      const dir = await engine({ kv_cache_type: "paged" });
      const { session } = await inRunner(dir, runner, { recordsSteps: true });
      const counts: unknown[] = [];
      for (const [rows, prompt, tokens] of [
        [2, 19, 9],
        [2, 19, 9],
        [2, 7, 5],
        [2, 61, 30],
        [3, 19, 9],
        [2, 19, 9],
        [3, 7, 4],
      ] as const)
        counts.push((await generate(session, rows, prompt, tokens)).memory?.recorded_steps);
      // Each number of rows has one, whatever the lengths are; memory settles with the second request.
      expect(counts[6]).toBe(counts[4]);
      expect(Number(counts[6])).toBeLessThanOrEqual(3);
      expect(Number(counts[0])).toBe(1);
      await session.close();
    });
  });
}

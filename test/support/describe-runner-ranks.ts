import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, it, type TestContext, vi } from "vitest";
import type { Question } from "../../src/runtime/answer.ts";
import type { Assistant } from "../../src/runtime/assistant.ts";
import type { DeviceSession } from "../../src/runtime/device/session.ts";
import { GENERATE_DEFAULTS } from "../../src/runtime/generate/options.ts";
import { buildTo, convertTo, Workspace } from "./pipeline.ts";
import { inRunner, NO_RUNNER } from "./runner.ts";
import { ADAPTERS, type Asked, expectSame, LIMITS, LLAVA, MODELS, questionsAbout } from "./runner-answers.ts";

const work = new Workspace();

/** The rules that go by other ways between ranks: rows that end apart, beams that move, a random stream. */
const ASKED: Asked = {
  greedy: {},
  beams: { numBeams: 3, lengthPenalty: 0.7 },
  sampling: { topK: 7, temperature: 2, seed: 5 },
  "a stop text": { stop: ["circle"] },
};

const whole = new Map<string, Promise<string>>();

/** A model in one piece, converted once. */
function wholeOf(model: string): Promise<string> {
  const known = whole.get(model) ?? convertTo(work, model, "float32");
  whole.set(model, known);
  return known;
}

async function rankedOf(model: string, tpSize: number, ppSize: number, limits: object): Promise<string> {
  const parallel = {
    tpSize,
    ppSize,
    parallelEmbedding: false,
    embeddingShardingDim: 0,
    shareEmbedding: false,
  } as const;
  return buildTo(work, await convertTo(work, model, "float32", { parallel }), limits);
}

/** A model in one piece and in ranks. */
async function split(
  model: string,
  tpSize: number,
  ppSize: number,
  limits: object,
): Promise<{ here: string; there: string }> {
  return {
    here: await buildTo(work, await wholeOf(model), limits),
    there: await rankedOf(model, tpSize, ppSize, limits),
  };
}

type Ranks = readonly { readonly pid: number }[];

async function opened(
  dir: string,
  runner: string,
): Promise<{ assistant: Assistant<DeviceSession>; pids: readonly number[] }> {
  const assistant = await inRunner(dir, runner);
  return { assistant, pids: (assistant.session.facts.ranks as Ranks).map(({ pid }) => pid) };
}

/** Whether a process runs; one that has ended and waits for its parent to hear of it does not. */
async function isAlive(pid: number): Promise<boolean> {
  const state = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => ") Z");
  return !/\) [ZX]/.test(state);
}

/** Within ten seconds of the first of them. */
async function expectAllEnded(pids: readonly number[]): Promise<void> {
  await vi.waitFor(async () => expect((await Promise.all(pids.map(isAlive))).includes(true)).toBe(false), 10_000);
}

/** Several ranks in the native runner, a process each, over memory that they share. */
export function describeRunnerRanks(runnerOf: () => string | undefined): void {
  const needed = (context: TestContext): string => runnerOf() ?? context.skip(NO_RUNNER);

  describe("ranks in the native runner, a process each", () => {
    afterAll(() => work.clean());

    it.for([
      [2, 1, "static"],
      [1, 2, "continuous"],
      [2, 2, "paged"],
    ] as const)("answer as the model in one piece: tp %i, pp %i, %s cache", async ([tp, pp, kind], context) => {
      const runner = needed(context);
      const dirs = await split(LLAVA, tp, pp, { ...LIMITS, kv_cache_type: kind });
      await expectSame(runner, { ...dirs, digits: 3 }, questionsAbout, ASKED);
    });

    it("answer as one piece with adapters, of which each rank has its part", async context => {
      const runner = needed(context);
      const dirs = await split(LLAVA, 2, 1, { ...LIMITS, max_lora_rank: 12, lora_dir: ADAPTERS });
      const questionsFor = async (assistant: Assistant): Promise<readonly Question[]> =>
        (await questionsAbout(assistant)).map((question, i) => ({ ...question, task: [0, -1, 1][i] as number }));
      await expectSame(runner, { ...dirs, digits: 3 }, questionsFor, { greedy: {} });
    });

    it("answer as one piece where an encoder in two stages is attended to", async context => {
      const runner = needed(context);
      const model = join(MODELS, "blip2-t5-shapes");
      const dirs = await split(model, 2, 2, { ...LIMITS, kv_cache_type: "static" });
      await expectSame(runner, { ...dirs, digits: 3 }, questionsAbout, { greedy: {}, beams: { numBeams: 3 } });
    });

    it("end together within ten seconds when one is killed, and the problem says which", async context => {
      const runner = needed(context);
      const dir = await rankedOf(LLAVA, 2, 1, LIMITS);
      for (const victim of [0, 1]) {
        const { assistant, pids } = await opened(dir, runner);
        const questions = await questionsAbout(assistant);
        const dying = assistant.ask(questions, {
          generate: { ...GENERATE_DEFAULTS, maxNewTokens: 20 },
          at: "test",
          onText: () => process.kill(pids[victim] as number, "SIGKILL"),
        });
        // The first rank speaks with this side; the other's end is told by it.
        await expect(dying).rejects.toThrow(victim === 0 ? /RUN051.*SIGKILL/s : /RUN059.*rank 1 of 2 .*signal 9/s);
        await assistant.close();
        await expectAllEnded(pids);
      }
    });

    it("leave a request that is taken back at the same place, and are ready for the next", async context => {
      const runner = needed(context);
      const dir = await rankedOf(LLAVA, 1, 2, { ...LIMITS, use_paged_context_fmha: true, max_num_tokens: 32 });
      const { assistant, pids } = await opened(dir, runner);
      const [question] = (await questionsAbout(assistant)) as readonly [Question];
      const generate = { ...GENERATE_DEFAULTS, maxNewTokens: 20 };
      for (const moment of ["at once", "at the first word"]) {
        const abort = new AbortController();
        const stop = (): void => abort.abort(new Error("enough"));
        const asking = assistant.ask([question], { generate, at: "test", signal: abort.signal, onText: stop });
        if (moment === "at once") setImmediate(stop);
        await expect(asking, moment).rejects.toThrow("enough");
      }
      const { answers } = await assistant.ask([question], { generate, at: "test" });
      expect(answers[0]?.text).toBe("a red circle, a green triangle and a blue star");
      await assistant.close();
      await expectAllEnded(pids);
    });
  });
}

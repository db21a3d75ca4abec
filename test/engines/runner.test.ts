import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Question } from "../../src/runtime/answer.ts";
import type { Assistant } from "../../src/runtime/assistant.ts";
import { GENERATE_DEFAULTS } from "../../src/runtime/generate/options.ts";
import { encodeFrame, FrameParser, type Header } from "../../src/toolchain/runner/frames.ts";
import { describeRunnerFamilies, describeRunnerMemory } from "../support/describe-runner-families.ts";
import { describeRunnerRanks } from "../support/describe-runner-ranks.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { inRunner, NO_RUNNER, nativeRunner } from "../support/runner.ts";
import { ADAPTERS, ask, expectSame, LIMITS, LLAVA, MODELS, questionsAbout } from "../support/runner-answers.ts";

const work = new Workspace();
let runner: string | undefined;
let checkpoint: string;
beforeAll(async () => {
  runner = await nativeRunner();
  if (runner !== undefined) checkpoint = await convertTo(work, LLAVA, "float32");
}, 600_000);
afterAll(() => work.clean());

describe("the native runner answers as the session in this process", () => {
  for (const kv_cache_type of ["continuous", "static", "paged"] as const)
    it(`LLaVA, ${kv_cache_type} cache, a batch of different lengths`, async context => {
      if (runner === undefined) context.skip(NO_RUNNER);
      await expectSame(runner as string, await buildTo(work, checkpoint, { ...LIMITS, kv_cache_type }), questionsAbout);
    });

  it("LLaVA in float16, its prompts in pieces of 64", async context => {
    if (runner === undefined) context.skip(NO_RUNNER);
    const half = await convertTo(work, LLAVA, "float16");
    const pieces = { use_paged_context_fmha: true, max_num_tokens: 64 };
    await expectSame(runner as string, await buildTo(work, half, { ...LIMITS, ...pieces }), questionsAbout);
  });

  it("BLIP-2 with T5: encoder, cross keys and values, static cache", async context => {
    if (runner === undefined) context.skip(NO_RUNNER);
    const t5 = await convertTo(work, join(MODELS, "blip2-t5-shapes"), "float32");
    await expectSame(
      runner as string,
      await buildTo(work, t5, { ...LIMITS, kv_cache_type: "static" }),
      questionsAbout,
      {
        greedy: {},
        beams: { numBeams: 3 },
      },
    );
  });

  it("Nougat: pictures alone, whose repetitions are ended from this side", async context => {
    if (runner === undefined) context.skip(NO_RUNNER);
    const model = join(MODELS, "nougat-shapes");
    const pages = await convertTo(work, model, "float32");
    const dir = await buildTo(work, pages, { max_batch_size: 4, max_beam_width: 2, max_input_len: 8, max_seq_len: 50 });
    const questionsFor = async (assistant: Assistant): Promise<readonly Question[]> =>
      Promise.all(
        ["page_000.png", "page_001.png"].map(async page => ({
          ids: [],
          pixels: [await assistant.image(join(model, "heldout", page))],
        })),
      );
    await expectSame(runner as string, dir, questionsFor, {
      greedy: { maxNewTokens: 40 },
      beams: { numBeams: 2, maxNewTokens: 30 },
    });
  });

  it("adapters: each row of a batch with its own", async context => {
    if (runner === undefined) context.skip(NO_RUNNER);
    const dir = await buildTo(work, checkpoint, { ...LIMITS, max_lora_rank: 12, lora_dir: ADAPTERS });
    const questionsFor = async (assistant: Assistant): Promise<readonly Question[]> =>
      (await questionsAbout(assistant)).map((question, i) => ({ ...question, task: [0, -1, 1][i] as number }));
    await expectSame(runner as string, dir, questionsFor, { greedy: {}, beams: { numBeams: 3 } });
  });
});

/** A runner without mmtrt around it. */
async function talk(bytes: Uint8Array): Promise<{ readonly code: number | null; readonly headers: readonly Header[] }> {
  const child = spawn(runner as string, { stdio: ["pipe", "pipe", "ignore"] });
  const parser = new FrameParser();
  const headers: Header[] = [];
  child.stdout.on("data", (chunk: Uint8Array) => headers.push(...parser.push(chunk)));
  child.stdin.on("error", () => undefined);
  child.stdin.end(bytes);
  const [code] = (await once(child, "close")) as [number | null];
  return { code, headers };
}

describe("the native runner", () => {
  it("ends with 0 when its input closes, and with 1 and a problem for garbage", async context => {
    if (runner === undefined) context.skip(NO_RUNNER);
    const { code, headers } = await talk(new Uint8Array());
    expect([code, headers[0]]).toMatchObject([0, { kind: "hello", protocol: 2 }]);
    const frame = Buffer.concat(encodeFrame({ kind: "nonsense" }));
    const huge = Buffer.from(frame);
    huge.writeUInt32LE(0xffffffff, 4);
    const lying = Buffer.from(frame);
    lying.writeBigUInt64LE(1n << 33n, 8);
    const tensors = Buffer.concat(encodeFrame({ kind: "open", tensors: [{ name: "x", dtype: "int4", shape: [-1] }] }));
    const deep = Buffer.concat(encodeFrame({ kind: "open", x: JSON.parse("[".repeat(99) + "]".repeat(99)) }));
    for (const garbage of [
      Buffer.from("GET / HTTP/1.1\r\n\r\n"),
      frame,
      huge,
      lying,
      tensors,
      deep,
      frame.subarray(0, 9),
    ]) {
      const ended = await talk(garbage);
      expect(ended.code).toBe(1);
      expect(ended.headers.at(-1)).toMatchObject({ kind: "problem", fatal: true, problems: [{ code: "RUN050" }] });
    }
  });

  it("says which library it cannot load, and what config.json says that the graph does not", async context => {
    if (runner === undefined) context.skip(NO_RUNNER);
    const dir = await buildTo(work, checkpoint, LIMITS);
    const missing = inRunner(dir, runner as string, { runtimeLibrary: "/nowhere/libonnxruntime.so" });
    await expect(missing).rejects.toThrow(/RUN052.*\/nowhere\/libonnxruntime\.so/s);
    await expect(inRunner(dir, runner as string, { device: "cuda", deviceIndex: 977 })).rejects.toThrow(/RUN05[27]/);
  });

  it("that is killed is a problem, not a wait; a request that is taken back leaves it ready for the next", async context => {
    if (runner === undefined) context.skip(NO_RUNNER);
    const assistant = await inRunner(await buildTo(work, checkpoint, LIMITS), runner as string);
    const [question] = (await questionsAbout(assistant)) as readonly [Question, ...Question[]];
    const abort = new AbortController();
    const generate = { ...GENERATE_DEFAULTS, maxNewTokens: 20 };
    const asking = { generate, at: "test", signal: abort.signal, onText: () => abort.abort(new Error("enough")) };
    await expect(assistant.ask([question], asking)).rejects.toThrow("enough");
    const [answer] = await ask(assistant, [question], {});
    expect(answer?.text).toBe("a red circle, a green triangle and a blue star");
    const dying = assistant.ask([question], {
      generate,
      at: "test",
      onText: () => process.kill(assistant.session.facts.pid as number, "SIGKILL"),
    });
    await expect(dying).rejects.toThrow(/RUN051.*SIGKILL/s);
    await assistant.close();
  });

  it("holds no more memory after 1 000 requests of mixed length than after 200", {
    timeout: 300_000,
  }, async context => {
    if (runner === undefined) context.skip(NO_RUNNER);
    const assistant = await inRunner(
      await buildTo(work, checkpoint, { ...LIMITS, kv_cache_type: "paged" }),
      runner as string,
    );
    const questions = await questionsAbout(assistant);
    const resident: number[] = [];
    for (let i = 0; i < 1000; i++) {
      const batch = questions.slice(0, 1 + (i % 3));
      const generate = { ...GENERATE_DEFAULTS, maxNewTokens: 1 + (i % 7), numBeams: 1 + (i % 2) };
      const { memory } = await assistant.ask(batch, { generate, at: "test" });
      resident.push(memory?.host_resident_bytes as number);
    }
    await assistant.close();
    expect((resident[999] as number) - (resident[199] as number)).toBeLessThan(8 << 20);
  });
});

describeRunnerRanks(() => runner);
describeRunnerFamilies(() => runner);
describeRunnerMemory(() => runner);

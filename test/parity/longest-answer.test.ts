import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { BuildOptions } from "../../src/options/tables/build.ts";
import { openSession } from "../../src/runtime/session.ts";
import { FIXTURES } from "../support/describe-parity.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";

const CASES: readonly (readonly [model: string, build: Partial<BuildOptions>, most: (prompt: number) => number])[] = [
  // The last token of an answer is never cached: 40 tokens of a sequence leave 41 − prompt.
  ["llama_gqa", {}, prompt => 41 - prompt],
  ["llama_gqa", { kv_cache_type: "static" }, prompt => 41 - prompt],
  // A decoder that starts with one token, whatever the encoder's prompt.
  ["t5_plain", {}, () => 40],
  ["t5_plain", { kv_cache_type: "static" }, () => 40],
];

describe("the longest answer of an engine", () => {
  const work = new Workspace();
  afterAll(() => work.clean());

  it.each(CASES)("%s with %o is the last length that its profiles take", async (model, build, most) => {
    const checkpoint = await convertTo(work, join(FIXTURES, model), "float32");
    const limits = { max_batch_size: 1, max_input_len: 19, max_seq_len: 40, ...build };
    const session = await openSession(await buildTo(work, checkpoint, limits), { threads: 1 });
    for (const promptTokens of [1, 7, 19]) {
      const room = session.longestAnswer(promptTokens);
      expect(room).toBe(most(promptTokens));
      const check = (newTokens: number): void =>
        session.check({ batch: 1, beams: 1, promptTokens, newTokens, tableRows: 0 }, "test");
      expect(() => check(room)).not.toThrow();
      expect(() => check(room + 1)).toThrow(/RUN010/);
    }
    expect(session.longestAnswer(989)).toBe(most(1) === most(19) ? 40 : 1);
    await session.close();
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fitOf } from "../../../src/cli/inspect/fit.ts";
import type { EngineDir } from "../../../src/formats/engine-dir.ts";
import { checkPromptLength, longestPiece, pieceLength, promptCalls } from "../../../src/runtime/pieces.ts";
import { chainConfig } from "../../support/chain-graph.ts";

/** An engine for prompts of 989 tokens in pieces of 19, or whole. */
function config(paged: boolean): Parameters<typeof longestPiece>[0] {
  const base = chainConfig({ kind: "continuous", capacity: 0, tokens: 8 });
  const range = (max: number): { min: number; opt: number; max: number } => ({ min: 0, opt: 1, max });
  const box = (seq: number, past: number) => ({
    position_ids: { min: [1, 1], opt: [1, 1], max: [3, seq] },
    past_key_0: { min: [1, 2, 0, 3], opt: [1, 2, 1, 3], max: [3, 2, past, 3] },
    past_value_0: { min: [1, 2, 0, 3], opt: [1, 2, 1, 3], max: [3, 2, past, 3] },
  });
  const named = (io: (typeof base.io)[number]): typeof io => ({
    ...io,
    dims: io.name === "position_ids" ? ["batch", "seq"] : ["batch", io.shape[1] as number, "past", 3],
  });
  const sizes = (seq: number, past: number) => ({ batch: range(3), seq: range(seq), past: range(past) });
  const [seq, past] = paged ? [19, 988] : [989, 0];
  return {
    ...base,
    io: base.io.filter(({ kind }) => kind === "input").map(named),
    build_config: {
      ...base.build_config,
      max_input_len: 989,
      plugin_config: { tokens_per_block: 8, use_paged_context_fmha: paged },
    },
    profiles: [
      { name: "context", sizes: sizes(seq, past), shapes: box(seq, past) },
      { name: "generation", sizes: sizes(1, 1000), shapes: box(1, 1000) },
    ],
  };
}

describe("pieces of a prompt", () => {
  it("make up the prompt, fit into a call, and leave no token by itself", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2000 }), fc.integer({ min: 1, max: 300 }), (tokens, most) => {
        const pieces: number[] = [];
        for (let left = tokens; left > 0; left -= pieces.at(-1) as number) pieces.push(pieceLength(left, most));
        expect(pieces.reduce((a, b) => a + b, 0)).toBe(tokens);
        expect(Math.max(...pieces)).toBeLessThanOrEqual(most);
        if (tokens > 1 && most > 2) expect(Math.min(...pieces)).toBeGreaterThan(1);
      }),
    );
  });

  it("are known by their first and last call, and whole prompts by one", () => {
    expect(promptCalls(989, 19)).toEqual([
      { seq: 19, past: 0 },
      { seq: 1, past: 988 },
    ]);
    expect(promptCalls(19, 19)).toEqual([{ seq: 19, past: 0 }]);
    expect(promptCalls(1, 64)).toEqual([{ seq: 1, past: 0 }]);
    expect(promptCalls(989, Number.POSITIVE_INFINITY)).toEqual([{ seq: 989, past: 0 }]);
  });

  it("are as long as the context profile has them, where the engine was built for them", () => {
    expect(longestPiece(config(true))).toBe(19);
    expect(longestPiece(config(false))).toBe(Number.POSITIVE_INFINITY);
    expect(checkPromptLength(config(false), 5000, "test")).toEqual([]);
    expect(checkPromptLength(config(true), 989, "test")).toEqual([]);
    expect(checkPromptLength(config(true), 990, "test")).toMatchObject([{ code: "RUN010" }]);
  });

  it("let inspect take a prompt that is longer than a call", () => {
    const engine = { manifest: { model: { num_visual_features: 0 } } } as unknown as EngineDir;
    const fit = fitOf(engine, config(true), { input_len: 989, batch_size: 3 });
    expect(fit.problems).toEqual([]);
    expect(fit.limits.input_len).toBe(989);
    expect(fitOf(engine, config(true), { input_len: 990 }).problems).toMatchObject([{ code: "RUN010" }]);
    expect(fitOf(engine, config(true), { input_len: 989, batch_size: 4 }).problems[0]?.what).toMatch(/^batch is 4/);
  });
});

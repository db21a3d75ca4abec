import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { planFor } from "../../support/checkpoints.ts";
import { sparseCheckpoint } from "../../support/sparse-checkpoint.ts";

const TOKENS = 1_048_576;

describe("planBuild for contexts of a million tokens", () => {
  it("keeps every size of LLaMA-3-70B-Gradient-1048k exact, on a rank of eight", async () => {
    const dir = await mkdtemp(join(tmpdir(), "mmtrt-million-"));
    try {
      const checkpoint = sparseCheckpoint(join(dir, "70b"), "llama-3-70b-gradient-1048k", { tpSize: 8 });
      const made = await planFor(checkpoint, join(dir, "engines"), {
        backend: "tensorrt",
        max_input_len: TOKENS - 1,
        max_seq_len: TOKENS,
        max_num_tokens: 4096,
        use_paged_context_fmha: true,
      });
      expect(made.problems).toEqual([]);
      expect(made.warnings.map(({ code }) => code)).not.toContain("BLD012");
      expect(made.warnings.map(({ code }) => code)).not.toContain("BLD058");
      const [context, generation] = made.engines[7]?.profiles ?? [];
      expect(context?.shapes.input_ids?.max).toEqual([1, 4096]);
      expect(context?.shapes.past_key_79?.max).toEqual([1, 1, TOKENS - 2, 128]);
      expect(context?.shapes.attention_mask?.max).toEqual([1, TOKENS - 2 + 4096]);
      expect(generation?.shapes.past_key_79?.max).toEqual([1, 1, TOKENS - 1, 128]);
      expect(generation?.shapes.attention_mask?.max).toEqual([1, TOKENS]);
      for (const profile of made.engines.flatMap(engine => engine.profiles))
        for (const range of Object.values(profile.shapes))
          for (const size of [...range.min, ...range.opt, ...range.max]) {
            expect(Number.isSafeInteger(size)).toBe(true);
            // Positions, lengths and ids are int32 in the graph.
            expect(size).toBeLessThan(2 ** 31);
          }
      const kv = made.memory.ranks[7]?.items.find(({ what }) => what === "kv_cache")?.bytes;
      // 40 GiB a rank: one of eight key/value heads, 80 layers, keys and values of two bytes.
      expect(kv).toBe(TOKENS * 80 * 2 * 128 * 2);
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  }, 60_000);
});

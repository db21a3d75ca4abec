import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Fit, type FitRequest, fitOf } from "../../../src/cli/inspect/fit.ts";
import { openEngine } from "../../../src/formats/engine-dir.ts";
import type { BuildOptions } from "../../../src/options/tables/build.ts";
import { buildTo, convertTo, Workspace } from "../../support/pipeline.ts";
import { ROOT } from "../../support/sources.ts";

// llava_mqa: 25 visual features an image, 3 layers with one key/value head of 8, float16.
const LIMITS = { max_batch_size: 3, max_input_len: 60, max_seq_len: 97, max_beam_width: 2 };
const work = new Workspace();
afterAll(() => work.clean());

let checkpoint: string;
beforeAll(async () => {
  checkpoint = await convertTo(work, join(ROOT, "test/fixtures/parity/llava_mqa"), "float16");
});

async function fitter(given: Partial<BuildOptions> = {}): Promise<(request: FitRequest) => Fit> {
  const engine = await openEngine(await buildTo(work, checkpoint, { ...LIMITS, ...given }));
  return request => fitOf(engine, engine.llm!, request);
}

const whats = ({ problems }: Fit): string => problems.map(({ what, fix }) => `${what} → ${fix}`).join("\n");

describe("what an engine takes at most", () => {
  it("is each limit of its profiles when nothing is asked for", async () => {
    const { limits, request } = (await fitter())({});
    expect(request).toBeUndefined();
    expect(limits).toEqual({
      batch_size: 3,
      num_beams: 6,
      input_len: 60,
      images: 2,
      max_new_tokens: 97 + 1 - 25,
      seq_len: 97,
      rows: 75,
    });
  });

  it("follows from what is asked for: pictures share the table, beams share the batch, prompt and answer the length", async () => {
    const ask = await fitter();
    expect(ask({ images: 2 }).limits.batch_size).toBe(1);
    expect(ask({ batch_size: 3 }).limits).toMatchObject({ images: 1, num_beams: 2 });
    expect(ask({ input_len: 60 }).limits.max_new_tokens).toBe(38);
    expect(ask({ num_beams: 3 }).limits.batch_size).toBe(2);
  });

  it.each([
    {},
    { batch_size: 2 },
    { input_len: 41 },
    { batch_size: 3, num_beams: 2 },
    { images: 2 },
    { images: 0, batch_size: 2 },
  ] as FitRequest[])("is taken, and one more is not: %j", async asked => {
    const ask = await fitter();
    const { limits } = ask(asked);
    const keys = ["batch_size", "num_beams", "images", "max_new_tokens"] as const;
    for (const key of keys) {
      // Answers of one token never reach the generation profile, where beams count.
      const base = { max_new_tokens: 2, ...asked };
      const input_len =
        asked.input_len ?? Math.max(1, (asked.images ?? 1) * 25, key === "images" ? limits.images * 25 : 1);
      if (key !== "images" && key in asked) continue;
      const most = limits[key];
      const request = key === "images" ? { ...base, input_len } : base;
      expect(whats(ask({ ...request, [key]: most })), `${key} ${most}`).toBe("");
      const more =
        key === "images" && asked.input_len === undefined
          ? { ...request, input_len: Math.min(60, input_len + 25) }
          : request;
      expect(ask({ ...more, [key]: most + 1 }).problems, `${key} ${most + 1}`).not.toEqual([]);
    }
  });
});

describe("a request", () => {
  it("that fits says what it needs: the cache of every layer at its last step, before and after it", async () => {
    const fit = (await fitter())({ batch_size: 2, input_len: 50, max_new_tokens: 20 });
    expect(fit.problems).toEqual([]);
    // 2 sequences × (past 68 + present 69) tokens × 3 layers × key and value × 1 head × 8 × 2 bytes
    expect(fit.needs?.cache_bytes).toBe(2 * (68 + 69) * 3 * 2 * 8 * 2);
  });

  it("that does not fit names tensor, dimension and flag of every limit it breaks, each once", async () => {
    const fit = (await fitter())({ batch_size: 4, input_len: 61, images: 2, max_new_tokens: 60 });
    const text = whats(fit);
    expect(text).toMatch(/batch is 4 in input_ids.*context profile takes 1 to 3.*--max_batch_size 4/);
    expect(text).toMatch(/seq is 61 in input_ids.*takes 1 to 60.*--max_input_len 61/);
    expect(text).toMatch(/rows is 200 in prompt_embedding_table.*--max_multimodal_len 200/);
    expect(text).toMatch(/past \+ seq is 120 in attention_mask.*generation profile takes 1 to 97.*--max_seq_len 120/);
    const fixes = fit.problems.map(({ fix }) => fix);
    expect(new Set(fixes).size).toBe(fixes.length);
  });

  it("with more pictures than its prompt holds is refused for that", async () => {
    const text = whats((await fitter())({ input_len: 49, images: 2 }));
    expect(text).toContain("input_len 49 does not hold 2 images of 25 visual features → --input_len 50");
  });

  it("that overfills a static cache is refused, which no profile would tell", async () => {
    const ask = await fitter({ kv_cache_type: "static" });
    expect(ask({ input_len: 50, max_new_tokens: 48 }).problems).toEqual([]);
    expect(whats(ask({ input_len: 50, max_new_tokens: 49 }))).toMatch(/98 tokens of cache_key_0, which has 97.*98/);
    expect(ask({}).limits.seq_len).toBe(97);
  });
});

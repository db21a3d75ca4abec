import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MmtrtError } from "../../../src/diagnostics/index.ts";
import { checkProfile, decoderProfiles, profileOf, visualProfiles } from "../../../src/emit/profiles.ts";
import type { EngineProfile } from "../../../src/formats/engine-config.ts";
import { MODERN, MODERN_STATIC_CACHE } from "../../../src/graph/dialect.ts";
import type { GraphOptions } from "../../../src/models/architecture.ts";
import { decoderGraph } from "../../../src/models/parts/decoder-graph.ts";
import { visualGraph } from "../../../src/models/parts/visual-graph.ts";
import { llama, llava } from "../../support/specs.ts";

const SMALL = { hiddenSize: 24, layers: 2, heads: 3, kvHeads: 1, headDim: 8, intermediateSize: 40, vocabSize: 19 };
const OPTIONS: GraphOptions = {
  weightDtype: "float16",
  computeDtype: "float16",
  tpSize: 1,
  ppSize: 1,
  rank: 0,
  kvCache: { type: "continuous" },
  dialect: MODERN,
  promptTable: true,
};
const LIMITS = { maxBatchSize: 1, maxBeamWidth: 1, maxInputLen: 2048, maxSeqLen: 2560, promptRows: 576 };
const graph = decoderGraph(llava(SMALL), OPTIONS);

function byName(profiles: readonly EngineProfile[]): Record<string, EngineProfile["shapes"]> {
  return Object.fromEntries(profiles.map(profile => [profile.name, profile.shapes]));
}

describe("decoderProfiles", () => {
  it("gives LLaVA-1.5's README build a context and a generation profile", () => {
    const { context, generation } = byName(decoderProfiles(graph, LIMITS));
    expect(context).toMatchObject({
      input_ids: { min: [1, 1], opt: [1, 1024], max: [1, 2048] },
      attention_mask: { min: [1, 1], opt: [1, 1024], max: [1, 2048] },
      past_key_1: { min: [1, 1, 0, 8], opt: [1, 1, 0, 8], max: [1, 1, 0, 8] },
      prompt_embedding_table: { min: [1, 24], opt: [288, 24], max: [576, 24] },
      tasks: { min: [1, 1], opt: [1, 1], max: [1, 1] },
      prompt_vocab_size: { min: [1], opt: [1], max: [1] },
      last_token_ids: { min: [1], opt: [1], max: [1] },
    });
    expect(generation).toMatchObject({
      input_ids: { min: [1, 1], opt: [1, 1], max: [1, 1] },
      attention_mask: { min: [1, 1], opt: [1, 1280], max: [1, 2560] },
      past_value_0: { min: [1, 1, 0, 8], opt: [1, 1, 1279, 8], max: [1, 1, 2559, 8] },
    });
  });

  it("leaves room for a prompt's earlier pieces before each piece, in every range of tokens", () => {
    const pieces = { ...LIMITS, maxBatchSize: 3, maxInputLen: 989, contextPiece: 85 };
    const { context, generation } = byName(decoderProfiles(graph, pieces));
    expect(context).toMatchObject({
      input_ids: { min: [1, 1], opt: [2, 43], max: [3, 85] },
      past_key_1: { min: [1, 1, 0, 8], opt: [2, 1, 494, 8], max: [3, 1, 988, 8] },
      attention_mask: { min: [1, 1], opt: [2, 537], max: [3, 1073] },
    });
    expect(generation).toEqual(byName(decoderProfiles(graph, { ...pieces, contextPiece: undefined })).generation);
    const split = byName(decoderProfiles(graph, { ...pieces, multipleProfiles: true }));
    expect(Object.keys(split)).toEqual(["context_64", "context_85", "generation"]);
    expect(split.context_64?.past_key_0?.max).toEqual([3, 1, 988, 8]);
  });

  it("has no earlier pieces where a prompt is one token", () => {
    const one = { ...LIMITS, maxInputLen: 1 };
    expect(decoderProfiles(graph, { ...one, contextPiece: 1 })).toEqual(decoderProfiles(graph, one));
  });

  it("counts beams as rows in generation only, where they have parted", () => {
    const { context, generation } = byName(decoderProfiles(graph, { ...LIMITS, maxBatchSize: 8, maxBeamWidth: 5 }));
    expect(context?.last_token_ids).toEqual({ min: [1], opt: [4], max: [8] });
    expect(generation?.last_token_ids).toEqual({ min: [1], opt: [20], max: [40] });
  });

  it("leaves the cache's size open in both profiles where a prompt is one token, within max_seq_len", () => {
    const total = (maxSeqLen: number) =>
      decoderProfiles(graph, { ...LIMITS, maxInputLen: 1, maxSeqLen }).map(({ shapes }) => [
        shapes.past_key_0?.max[2],
        shapes.attention_mask?.max[1],
      ]);
    const [context, generation] = total(40);
    expect([context, generation]).toEqual([
      [1, 2],
      [39, 40],
    ]);
    expect(total(1)).toEqual([
      [0, 1],
      [0, 1],
    ]);
  });

  it("never lets the prompt table's min exceed its opt, as TensorRT-LLM does with one row", () => {
    const { context } = byName(decoderProfiles(graph, { ...LIMITS, promptRows: 1 }));
    expect(context?.prompt_embedding_table).toEqual({ min: [1, 24], opt: [1, 24], max: [1, 24] });
  });

  it("takes the opt points that are asked for", () => {
    const limits = { ...LIMITS, maxBatchSize: 19, optBatchSize: 3, optInputLen: 640, optSeqLen: 989 };
    const { context, generation } = byName(decoderProfiles(graph, limits));
    expect(context?.input_ids?.opt).toEqual([3, 640]);
    expect(generation?.attention_mask?.opt).toEqual([3, 989]);
  });

  it("cuts the context at 64, 128, 256, 512 and 1024 tokens with multiple profiles", () => {
    const profiles = decoderProfiles(graph, { ...LIMITS, maxInputLen: 989, multipleProfiles: true });
    expect(profiles.map(({ name, sizes }) => [name, sizes.seq?.min, sizes.seq?.opt, sizes.seq?.max])).toEqual([
      ["context_64", 1, 64, 64],
      ["context_128", 64, 128, 128],
      ["context_256", 128, 256, 256],
      ["context_512", 256, 512, 512],
      ["context_989", 512, 989, 989],
      ["generation", 1, 1, 1],
    ]);
  });

  it("leaves out sizes the graph has not: no table for text, no past for a static cache", () => {
    const text = decoderProfiles(decoderGraph(llama(SMALL), { ...OPTIONS, promptTable: false }), LIMITS);
    expect(Object.keys(text[0]?.sizes ?? {})).toEqual(["batch", "seq", "past"]);
    const kvCache = { type: "static", capacity: 2560 } as const;
    const fixed = decoderProfiles(
      decoderGraph(llava(SMALL), { ...OPTIONS, kvCache, dialect: MODERN_STATIC_CACHE }),
      LIMITS,
    );
    expect(fixed.map(({ sizes }) => Object.keys(sizes))).toEqual([
      ["batch", "seq", "rows"],
      ["batch", "seq", "rows"],
    ]);
    expect(fixed[0]?.shapes.cache_key_0?.max).toEqual([1, 1, 2560, 8]);
  });

  it("covers a middle pipeline stage, which takes hidden states for ids", () => {
    const stage = decoderGraph(llava(SMALL), { ...OPTIONS, ppSize: 2, rank: 1 });
    const { context } = byName(decoderProfiles(stage, LIMITS));
    expect(context?.hidden_states_input).toEqual({ min: [1, 1, 24], opt: [1, 1024, 24], max: [1, 2048, 24] });
    expect(context?.input_ids).toBeUndefined();
  });

  it("is consistent at min, opt and max for any limits", () => {
    const size = fc.integer({ min: 1, max: 5000 });
    const limits = fc.record({
      maxBatchSize: fc.integer({ min: 1, max: 300 }),
      maxBeamWidth: fc.integer({ min: 1, max: 19 }),
      maxInputLen: size,
      maxSeqLen: size,
      promptRows: fc.integer({ min: 0, max: 9999 }),
      multipleProfiles: fc.boolean(),
      contextPiece: fc.option(size, { nil: undefined }),
    });
    fc.assert(
      fc.property(limits, ({ contextPiece: piece, ...given }) => {
        const contextPiece = piece && Math.min(piece, given.maxInputLen);
        for (const { shapes, sizes } of decoderProfiles(graph, { ...given, contextPiece })) {
          for (const { min, opt, max } of Object.values(shapes)) {
            for (const [axis, least] of min.entries()) {
              expect(least).toBeGreaterThanOrEqual(0);
              expect(least).toBeLessThanOrEqual(opt[axis]!);
              expect(opt[axis]!).toBeLessThanOrEqual(max[axis]!);
            }
          }
          for (const point of ["min", "opt", "max"] as const) {
            const mask = shapes.attention_mask?.[point][1];
            expect(mask).toBe((shapes.past_key_0?.[point][2] ?? -1) + (shapes.input_ids?.[point][1] ?? -1));
            expect(shapes.tasks?.[point][0]).toBe(sizes.batch?.[point]);
            expect(shapes.prompt_embedding_table?.[point][0]).toBeGreaterThanOrEqual(1);
          }
        }
      }),
    );
  });
});

describe("visualProfiles", () => {
  const visual = visualGraph(
    llava(SMALL, {
      imageSize: 42,
      patchSize: 14,
      hiddenSize: 16,
      heads: 2,
      intermediateSize: 24,
      numVisualFeatures: 9,
      runLayers: 1,
    }),
    OPTIONS,
  );

  it.each([
    [1, 1, 1],
    [3, 1, 3],
    [8, 4, 8],
    [19, 9, 19],
  ])("for %i images tunes for %i", (most, opt, max) => {
    const [profile, ...rest] = visualProfiles(visual, most);
    expect(rest).toEqual([]);
    expect(profile?.shapes.input).toEqual({ min: [1, 3, 42, 42], opt: [opt, 3, 42, 42], max: [max, 3, 42, 42] });
  });
});

describe("checkProfile", () => {
  const inputs = graph.inputs.filter(input => ["input_ids", "attention_mask"].includes(input.name));
  const good = profileOf("context", inputs, {
    batch: { min: 1, opt: 1, max: 1 },
    seq: { min: 1, opt: 4, max: 9 },
    past: { min: 0, opt: 0, max: 0 },
  });
  const textOf = (shapes: EngineProfile["shapes"]): string =>
    checkProfile({ ...good, shapes }, inputs)
      .map(problem => `${problem.code} ${problem.at}: ${problem.what}`)
      .join("\n");

  it("accepts what profileOf makes", () => {
    expect(checkProfile(good, inputs)).toEqual([]);
  });

  it("names the input, axis and expected size where a mask is not past + seq, also at max", () => {
    const mask = { ...good.shapes.attention_mask!, max: [1, 8] };
    expect(textOf({ ...good.shapes, attention_mask: mask })).toBe(
      "BLD007 profile context, input attention_mask: axis 1 (past + seq) is 8 at max; expected 9",
    );
  });

  it("refuses an input that the graph has not, which TensorRT would ignore", () => {
    const shapes = { ...good.shapes, input_idz: good.shapes.input_ids! };
    expect(textOf(shapes)).toBe("BLD007 profile context, input input_idz: the graph has no input input_idz");
  });

  it("refuses an input without a range", () => {
    expect(textOf({ input_ids: good.shapes.input_ids! })).toContain("attention_mask has no range");
  });

  it("refuses another number of axes", () => {
    const ids = { min: [1], opt: [1], max: [1] };
    expect(textOf({ ...good.shapes, input_ids: ids })).toContain("input_ids has 2 axes");
  });

  it("refuses min above opt before TensorRT does", () => {
    expect(() => profileOf("bad", inputs, { ...good.sizes, seq: { min: 5, opt: 4, max: 9 } })).toThrow(MmtrtError);
    expect(() => profileOf("bad", inputs, { ...good.sizes, seq: { min: 5, opt: 4, max: 9 } })).toThrow(
      /min 5, opt 4, max 9/,
    );
  });
});

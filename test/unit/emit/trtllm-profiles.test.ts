import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type TrtllmCrossDecoder,
  trtllmCrossDecoderInputs,
  trtllmEncoderInputs,
} from "../../../src/emit/trtllm-pair-profiles.ts";
import { promptTableRows, type TrtllmInput } from "../../../src/emit/trtllm-range.ts";

const HALF = {
  maxBatchSize: 3,
  hiddenSize: 40,
  isFirst: true,
  tpSize: 1,
  learnedPositions: true,
  removeInputPadding: false,
  attentionPlugin: false,
  customAllReduce: true,
};

const DECODER: TrtllmCrossDecoder = {
  ...HALF,
  maxBeamWidth: 1,
  maxInputLen: 1,
  maxSeqLen: 19,
  maxEncoderInputLen: 7,
  encoderSize: 24,
  kvHeads: 3,
  headSize: 8,
  encoderKvHeads: 5,
  encoderHeadSize: 6,
  layers: [2, 3],
  isLast: true,
  pagedKvCache: false,
  tokensPerBlock: 16,
};

const named = (inputs: readonly TrtllmInput[]) =>
  Object.fromEntries(inputs.map(({ name, profiles }) => [name, profiles]));

describe("TensorRT-LLM's profiles of an encoder-decoder", () => {
  it("give the prompt table (1, half, all), and a single row no opt below its min", () => {
    expect([1, 2, 3, 577].map(promptTableRows)).toEqual([
      { min: 1, opt: 1, max: 1 },
      { min: 1, opt: 1, max: 2 },
      { min: 1, opt: 1, max: 3 },
      { min: 1, opt: 288, max: 577 },
    ]);
  });

  it("number caches by the rank's own layers and give a later stage hidden states", () => {
    const got = named(trtllmCrossDecoderInputs({ ...DECODER, isFirst: false, isLast: false }));
    expect(got.hidden_states_input).toEqual([{ min: [1, 1, 40], opt: [2, 1, 40], max: [3, 1, 40] }]);
    expect(got.past_key_value_2).toEqual([{ min: [1, 2, 3, 0, 8], opt: [2, 2, 3, 10, 8], max: [3, 2, 3, 20, 8] }]);
    expect(got.cross_past_key_value_3).toEqual([{ min: [1, 2, 5, 0, 6], opt: [2, 2, 5, 4, 6], max: [3, 2, 5, 7, 6] }]);
    for (const name of ["input_ids", "position_ids", "last_token_ids", "past_key_value_0"])
      expect(got, name).not.toHaveProperty(name);
  });

  it("have a mask of one more than the cache in place of the plugin's lengths", () => {
    const got = named(trtllmCrossDecoderInputs(DECODER));
    expect(got.attention_mask).toEqual([{ min: [1, 1], opt: [2, 11], max: [3, 21] }]);
    expect(got.position_ids).toEqual(got.input_ids);
    expect(got).not.toHaveProperty("host_context_lengths");
  });

  it("have min ≤ opt ≤ max on every axis, whatever the limits", () => {
    const count = fc.integer({ min: 1, max: 2048 });
    const limits = fc.record({
      maxBatchSize: count,
      maxBeamWidth: fc.integer({ min: 1, max: 9 }),
      maxInputLen: count,
      maxSeqLen: count,
      maxEncoderInputLen: count,
      promptRows: fc.nat(2048),
      removeInputPadding: fc.boolean(),
      attentionPlugin: fc.boolean(),
      pagedKvCache: fc.boolean(),
      isFirst: fc.boolean(),
    });
    fc.assert(
      fc.property(limits, given => {
        const both = [
          ...trtllmEncoderInputs({ ...HALF, ...given }),
          ...trtllmCrossDecoderInputs({ ...DECODER, ...given }),
        ];
        for (const { name, profiles } of both) {
          for (const { min, opt, max } of profiles)
            for (const [i, size] of opt.entries())
              expect(min[i]! <= size && size <= max[i]!, `${name} ${min} ${opt} ${max}`).toBe(true);
        }
      }),
    );
  });
});

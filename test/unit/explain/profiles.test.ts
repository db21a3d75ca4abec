import { describe, expect, it } from "vitest";
import { explain } from "../../../src/toolchain/explain/index.ts";
import { describeLimits, describeMisfits, limitFlag, misfitsOf } from "../../../src/toolchain/tensorrt/profile-fit.ts";

const profiles = [
  {
    name: "context",
    shapes: {
      input_ids: { min: [1, 1], opt: [2, 64], max: [4, 128] },
      attention_mask: { min: [1, 1], opt: [2, 64], max: [4, 128] },
      prompt_embedding_table: { min: [1, 48], opt: [16, 48], max: [32, 48] },
      past_key_0: { min: [1, 3, 0, 16], opt: [2, 3, 0, 16], max: [4, 3, 0, 16] },
      past_key_1: { min: [1, 3, 0, 16], opt: [2, 3, 0, 16], max: [4, 3, 0, 16] },
    },
  },
  {
    name: "generation",
    shapes: {
      input_ids: { min: [1, 1], opt: [2, 1], max: [4, 1] },
      attention_mask: { min: [1, 2], opt: [2, 65], max: [4, 256] },
      prompt_embedding_table: { min: [1, 48], opt: [1, 48], max: [32, 48] },
      past_key_0: { min: [1, 3, 1, 16], opt: [2, 3, 64, 16], max: [4, 3, 255, 16] },
      past_key_1: { min: [1, 3, 1, 16], opt: [2, 3, 64, 16], max: [4, 3, 255, 16] },
    },
  },
];

const old = "condition: satisfyProfile Runtime dimension does not satisfy any optimization profile.)";

describe("a satisfyProfile message", () => {
  it("with the request's sizes is recomputed: tensor, dimension, limit and flag", () => {
    const shapes = {
      input_ids: [4, 128],
      attention_mask: [4, 128],
      prompt_embedding_table: [64, 48],
      past_key_0: [4, 3, 0, 16],
    };
    expect(explain(old, { profiles, shapes })[0]?.fix).toBe(
      "prompt_embedding_table axis 0 is 64, profile context takes 1 to 32: build with a higher --max_multimodal_len, or ask for at most 32",
    );
  });

  it("with the profiles alone lists what the engine takes, layers folded into one", () => {
    expect(explain(old, { profiles })[0]?.fix).toBe(
      "the engine takes at most input_ids [4, 128], attention_mask [4, 256], prompt_embedding_table [32, 48], past_key_0…1 [4, 3, 255, 16]",
    );
  });

  it("that names its tensor is measured against the stored profiles, not only the one it prints", () => {
    const text =
      "Set dimension [5,19] for tensor input_ids does not satisfy any optimization profiles. Valid range for profile 1: [1,1]..[4,1].";
    expect(explain(text, { profiles })[0]?.fix).toBe(
      "input_ids axis 0 is 5, profile context takes 1 to 4: build with a higher --max_batch_size, or ask for at most 4",
    );
  });
});

describe("sizes against profiles", () => {
  it("fit when one profile covers all of them", () => {
    expect(describeMisfits({ input_ids: [1, 1], past_key_0: [1, 3, 19, 16] }, profiles)).toBeUndefined();
  });

  it("are reported for the profile that comes nearest", () => {
    const lists = misfitsOf({ input_ids: [1, 19], past_key_0: [1, 3, 989, 16] }, profiles);
    expect(lists.map(list => list.length)).toEqual([1, 2]);
    expect(lists[0]?.[0]).toMatchObject({
      profile: "context",
      input: "past_key_0",
      axis: 2,
      size: 989,
      max: 0,
      flag: "max_seq_len",
    });
  });

  it("below min say so", () => {
    expect(describeMisfits({ prompt_embedding_table: [0, 48] }, profiles)).toBe(
      "prompt_embedding_table axis 0 is 0, profile context takes 1 to 32: give at least 1",
    );
  });

  it("of another rank say so", () => {
    expect(describeMisfits({ input_ids: [19] }, profiles)).toBe("input_ids has 1 dimensions, the engine takes 2");
  });

  it("know the option behind every dimension of the decoder's contract", () => {
    expect(limitFlag("attention_mask", 1)).toBe("max_seq_len");
    expect(limitFlag("past_value_17", 2)).toBe("max_seq_len");
    expect(limitFlag("past_value_17", 1)).toBeUndefined();
    expect(limitFlag("encoder_output", 1)).toBe("max_encoder_input_len");
    expect(limitFlag("input", 0)).toBe("max_batch_size");
  });

  it("have limits even without profiles", () => {
    expect(describeLimits([])).toBe("");
    expect(describeMisfits({ x: [1] }, [])).toBeUndefined();
  });
});

import { describe, expect, it } from "vitest";
import type { EngineIo, LlmEngineConfig } from "../../../../src/formats/engine-config.ts";
import { rankedConfig, rankShape } from "../../../../src/runtime/ranks/config.ts";

const io = (name: string, kind: EngineIo["kind"], dims: EngineIo["dims"]): EngineIo => ({
  name,
  kind,
  dtype: "float32",
  dims,
  shape: dims.map(dim => (typeof dim === "number" ? dim : -1)),
});
const range = (size: number) => ({ min: [1, 1], opt: [1, size], max: [1, size] });
const cache = [
  io("past_key_0", "input", ["batch", 3, "past", 4]),
  io("present_key_0", "output", ["batch", 3, "past", 4]),
];
const mask = io("attention_mask", "input", ["batch", "past"]);
const profile = (inputs: readonly string[]) => ({
  name: "context",
  sizes: {},
  shapes: Object.fromEntries(inputs.map((name, i) => [name, range(i + 1)])),
});

/** Two stages of two ranks, a layer each. */
const CONFIG = {
  pretrained_config: { mapping: { tp_size: 2, pp_size: 2 } },
  io: [io("input_ids", "input", ["batch", "seq"]), mask, ...cache, io("hidden_states_output", "output", ["batch", 8])],
  profiles: [profile(["input_ids", "attention_mask", "past_key_0"])],
  pp_stages: [
    {
      first_rank: 2,
      io: [io("hidden_states_input", "input", ["batch", 8]), mask, ...cache, io("logits", "output", ["batch", 19])],
      profiles: [profile(["hidden_states_input", "attention_mask", "past_key_0"])],
    },
  ],
} as unknown as LlmEngineConfig;

describe("the config of all ranks", () => {
  const all = rankedConfig(CONFIG, { tpSize: 2, ppSize: 2 });

  it("has every rank's caches, everything else once, and nothing that stages hand on", () => {
    expect(all.io.map(({ name }) => name)).toEqual([
      ...["input_ids", "attention_mask", "past_key_0", "present_key_0", "past_key_1", "present_key_1"],
      ...["past_key_2", "present_key_2", "logits", "past_key_3", "present_key_3"],
    ]);
    expect(all.pp_stages).toBeUndefined();
  });

  it("has a range for every input in its profiles", () => {
    const inputs = all.io.filter(({ kind }) => kind === "input").map(({ name }) => name);
    for (const name of inputs) expect(all.profiles[0]?.shapes[name], name).toBeDefined();
  });

  it("is a single rank's own config", () => {
    expect(rankedConfig(CONFIG, { tpSize: 1, ppSize: 1 })).toBe(CONFIG);
  });
});

describe("how many ranks there are", () => {
  it("is what the config says", () => expect(rankShape(CONFIG, 4, "config.json")).toEqual({ tpSize: 2, ppSize: 2 }));

  it.each([3, 1])("is refused when the directory has %i parts", parts => {
    expect(() => rankShape(CONFIG, parts, "config.json")).toThrow(/BLD003.*the directory has \d ranks/);
  });

  it("is refused when the mapping holds no numbers", () => {
    const odd = { ...CONFIG, pretrained_config: { mapping: { tp_size: "2", pp_size: -1 } } };
    expect(() => rankShape(odd, 2, "config.json")).toThrow(/BLD003/);
  });
});

import { describe, expect, it } from "vitest";
import { ropeFrequencies } from "../../../src/layers/rope-scaling.ts";

/** Channel pairs of a head of 128 that lie before, on and behind YaRN's ramp. */
const PAIRS = [0, 1, 7, 20, 24, 30, 40, 47, 63];

/** The numbers are transformers 5.17's, float32 as PyTorch computes them. */
describe("rotary frequencies of published sizes", () => {
  it("are YaRN's with its defaults, as Qwen2.5 is stretched to 131072 positions", () => {
    const parameters = { original_max_position_embeddings: 32_768 };
    const rope = ropeFrequencies(128, 1e6, 32_768, { type: "yarn", factor: 4, parameters });
    expect(rope.attentionFactor).toBe(1.138629436111989);
    expect(rope.beyond).toBeUndefined();
    expectRelative(
      PAIRS.map(i => rope.frequencies[i] as number),
      [
        1, 0.8058422207832336, 0.22067339718341827, 0.01333521492779255, 0.005375321488827467, 0.0010643609566614032,
        4.4456985051510856e-5, 9.8104746939498e-6, 3.102344408034696e-7,
      ],
    );
  });

  it("are YaRN's with every number given, where the ramp begins and ends within pairs", () => {
    const parameters = {
      original_max_position_embeddings: 4096,
      beta_fast: 64,
      beta_slow: 2,
      mscale: 1,
      mscale_all_dim: 0.7,
      truncate: false,
    };
    const rope = ropeFrequencies(128, 1e4, 131_072, { type: "yarn", factor: 32, parameters });
    expect(rope.attentionFactor).toBeCloseTo(1.0836729039678816, 14);
    expectRelative(
      PAIRS.map(i => rope.frequencies[i] as number),
      [
        1, 0.8659643530845642, 0.36517414450645447, 0.04747527837753296, 0.021609025076031685, 0.005893877241760492,
        0.0001255857787327841, 3.608693805290386e-5, 3.6086935324419755e-6,
      ],
    );
    const set = ropeFrequencies(128, 1e4, 131_072, {
      type: "yarn",
      factor: 32,
      parameters: { ...parameters, attention_factor: 1.25 },
    });
    expect(set.attentionFactor).toBe(1.25);
  });

  it("are LongRoPE's two lists with the temperature of the stretch", () => {
    const parameters = {
      original_max_position_embeddings: 7,
      short_factor: [1, 1.1, 1.3, 1, 2],
      long_factor: [1, 2.5, 4, 7.5, 11],
    };
    const rope = ropeFrequencies(10, 1e4, 96, { type: "longrope", factor: 96 / 7, parameters });
    expect(rope.attentionFactor).toBeCloseTo(1.531538758763124, 14);
    expectRelative(
      [...rope.frequencies],
      [1, 0.14408119022846222, 0.01932220347225666, 0.003981070592999458, 0.00031547865364700556],
    );
    expect(rope.beyond).toMatchObject({ kind: "switched", trained: 7 });
    expectRelative(
      rope.beyond?.kind === "switched" ? [...rope.beyond.frequencies] : [],
      [1, 0.06339572370052338, 0.0062797158025205135, 0.0005308094550855458, 5.7359753554919735e-5],
    );
    const shrunk = ropeFrequencies(10, 1e4, 7, { type: "longrope", factor: 1, parameters });
    expect(shrunk.attentionFactor).toBe(1);
  });

  it("are the plain ones for dynamic scaling, which the graph stretches from max_position_embeddings on", () => {
    const plain = ropeFrequencies(10, 500, 19);
    const rope = ropeFrequencies(10, 500, 19, { type: "dynamic", factor: 3, parameters: {} });
    expect(rope).toEqual({ ...plain, beyond: { kind: "dynamic", factor: 3, trained: 19 } });
  });
});

/** Within two steps of float32. */
function expectRelative(found: readonly number[], expected: readonly number[]): void {
  expect(found.length).toBe(expected.length);
  for (const [i, value] of found.entries()) {
    const wanted = expected[i] as number;
    expect(Math.abs(value - wanted) / wanted, `frequency ${i}: ${value}, transformers ${wanted}`).toBeLessThan(2.4e-7);
  }
}

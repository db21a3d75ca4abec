import { describe, expect, it } from "vitest";
import { smoothQuant } from "../../../src/quantize/smooth-quant.ts";
import {
  concatRows,
  named,
  type QuantAlgo,
  recipeBytes,
  sliceColumns,
  sliceRows,
  type TensorRecipe,
  UNQUANTIZED,
} from "../../../src/tensor/index.ts";

const LAYER = "transformer.layers.0";
/** Inputs, outputs of q, of k and v, of the MLP: odd sizes but for the split. */
const [HIDDEN, QUERIES, KEYS, WIDE] = [19, 6, 2, 10];

/** Values that a few channels dominate, as activations of language models are. */
function noise(count: number, seed: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length: count }, (_, i) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 31 - 1) * (i % 7 === 3 ? 20 : 1);
  });
}

function matrix(name: string, rows: number, columns: number, values: Float32Array): TensorRecipe {
  const shape = columns === 0 ? [rows] : [rows, columns];
  const stride = Math.max(1, columns);
  return {
    name,
    dtype: "float32",
    shape,
    sources: [name],
    readRows: async (start, end) => new Uint8Array(values.slice(start * stride, end * stride).buffer),
  };
}

async function read(recipe: TensorRecipe | undefined): Promise<Buffer> {
  if (recipe === undefined) throw new Error("not stored");
  const bands: Uint8Array[] = [];
  for await (const band of recipeBytes(recipe, 64)) bands.push(band);
  return Buffer.concat(bands);
}

const floats = async (recipe: TensorRecipe | undefined): Promise<Float32Array> =>
  new Float32Array(Uint8Array.from(await read(recipe)).buffer);

const ALGOS: readonly QuantAlgo[] = [
  "W8A8_SQ_PER_TENSOR_PLUGIN",
  "W8A8_SQ_PER_CHANNEL_PER_TENSOR_PLUGIN",
  "W8A8_SQ_PER_TENSOR_PER_TOKEN_PLUGIN",
  "W8A8_SQ_PER_CHANNEL_PER_TOKEN_PLUGIN",
];

describe.each(ALGOS)("SmoothQuant %s", algo => {
  const weights = {
    q: noise(QUERIES * HIDDEN, 1),
    k: noise(KEYS * HIDDEN, 2),
    v: noise(KEYS * HIDDEN, 3),
    dense: noise(HIDDEN * QUERIES, 4),
    fc: noise(WIDE * HIDDEN, 5),
    gate: noise(WIDE * HIDDEN, 6),
    proj: noise(HIDDEN * WIDE, 7),
  };
  const range = (inputs: number, outputs: number, seed: number) => ({
    x: noise(inputs, seed).map(Math.abs),
    y: noise(outputs, seed + 1).map(Math.abs),
  });
  const ranges = new Map([
    [`${LAYER}.attention.qkv`, range(HIDDEN, QUERIES + 2 * KEYS, 11)],
    [`${LAYER}.attention.dense`, range(QUERIES, HIDDEN, 12)],
    [`${LAYER}.mlp.fc`, range(HIDDEN, WIDE, 13)],
    [`${LAYER}.mlp.gate`, range(HIDDEN, WIDE, 13)],
    [`${LAYER}.mlp.proj`, range(WIDE, HIDDEN, 14)],
  ]);

  /** The stored tensors of one of two ranks, and what the norms became. */
  function ranksOf(tpRank: number) {
    const quantizer = smoothQuant({ ...UNQUANTIZED, quantAlgo: algo, smoothquantVal: 0.5 }, ranges, {
      smoothsRows: true,
    });
    const stored = new Map<string, TensorRecipe>();
    const prepare = (name: string, recipe: TensorRecipe, i: number): TensorRecipe =>
      quantizer.prepare?.(`${LAYER}.${name}`, recipe, i) ?? recipe;
    const store = (name: string, recipe: TensorRecipe, split: string): void => {
      const place = { tpRank, tpSize: 2, layer: 0, split };
      for (const one of quantizer.store(named(`${LAYER}.${name}`, recipe), place))
        stored.set(one.name.slice(LAYER.length + 1), one);
    };
    const half = (recipe: TensorRecipe): TensorRecipe => {
      const rows = (recipe.shape[0] ?? 0) / 2;
      return sliceRows(recipe, tpRank * rows, (tpRank + 1) * rows);
    };
    const norm = matrix("norm", HIDDEN, 0, new Float32Array(HIDDEN).fill(1));
    store("input_layernorm.weight", prepare("input_layernorm.weight", norm, 0), "replicated");
    const qkv = (["q", "k", "v"] as const).map((name, i) =>
      prepare("attention.qkv.weight", matrix(name, name === "q" ? QUERIES : KEYS, HIDDEN, weights[name]), i),
    );
    store("attention.qkv.weight", concatRows(qkv.map(half)), "qkv");
    for (const name of ["fc", "gate"] as const)
      store(
        `mlp.${name}.weight`,
        half(prepare(`mlp.${name}.weight`, matrix(name, WIDE, HIDDEN, weights[name]), 0)),
        "column",
      );
    const columns = (name: "dense" | "proj", input: number): TensorRecipe => {
      const key = name === "dense" ? "attention.dense.weight" : "mlp.proj.weight";
      const whole = prepare(key, matrix(name, HIDDEN, input, weights[name]), 0);
      return sliceColumns(whole, (tpRank * input) / 2, ((tpRank + 1) * input) / 2);
    };
    store("attention.dense.weight", columns("dense", QUERIES), "row");
    store("mlp.proj.weight", columns("proj", WIDE), "row");
    return stored;
  }

  const perToken = algo.includes("PER_TOKEN");

  /** Codes · scale / smoothing, which must be the weight within half a step of it. */
  async function expectClose(
    stored: ReadonlyMap<string, TensorRecipe>,
    name: string,
    factors: Float32Array,
    weight: (row: number, column: number) => number,
    inputScale: number,
  ): Promise<void> {
    const codes = new Int8Array(await read(stored.get(`${name}.weight`)));
    const scales = await floats(stored.get(`${name}.per_channel_scale`));
    const act = perToken ? 1 : ((await floats(stored.get(`${name}.act_scale`)))[0] as number) * inputScale;
    const columns = factors.length;
    expect(codes.length % columns).toBe(0);
    for (let i = 0; i < codes.length; i++) {
      const [row, column] = [Math.floor(i / columns), i % columns];
      const scale = (scales.length === 1 ? scales[0] : scales[row]) as number;
      const step = scale * act;
      const wanted = weight(row, column) * (factors[column] as number);
      expect(Math.abs((codes[i] as number) * step - wanted)).toBeLessThanOrEqual(step * 0.5001 + 1e-6);
    }
  }

  it.each([0, 1])("keeps norm · weight of rank %i within half a step", async rank => {
    const stored = ranksOf(rank);
    // The norm's weights were 1, so they now hold 1 / s.
    const s = (await floats(stored.get("input_layernorm.weight"))).map(value => 1 / value);
    const scaleOf = async (name: string): Promise<number> =>
      perToken ? 1 : ((await floats(stored.get(name)))[0] as number);
    const rows = [...Array(3).keys()].map(r => [weights.q, rank * 3 + r] as const);
    const all = [...rows, [weights.k, rank] as const, [weights.v, rank] as const];
    await expectClose(
      stored,
      "attention.qkv",
      s,
      (row, column) =>
        (all[row] as (typeof all)[number])[0][(all[row] as (typeof all)[number])[1] * HIDDEN + column] as number,
      await scaleOf("input_layernorm.scale_to_int"),
    );
    const dense = await floats(stored.get("attention.dense.smoother"));
    await expectClose(
      stored,
      "attention.dense",
      dense,
      (row, column) => weights.dense[row * QUERIES + rank * 3 + column] as number,
      await scaleOf("attention.quantization_scaling_factor"),
    );
    const proj = await floats(stored.get("mlp.proj.smoother"));
    await expectClose(
      stored,
      "mlp.proj",
      proj,
      (row, column) => weights.proj[row * WIDE + rank * 5 + column] as number,
      await scaleOf("mlp.quantization_scaling_factor"),
    );
    expect(stored.has("attention.quantization_scaling_factor")).toBe(!perToken);
    expect(await floats(stored.get("post_layernorm.scale_to_int"))).toHaveLength(1);
  });

  it("brings the largest smoothed input to 127", async () => {
    if (perToken) return;
    const stored = ranksOf(0);
    const s = (await floats(stored.get("input_layernorm.weight"))).map(value => 1 / value);
    const { x } = ranges.get(`${LAYER}.attention.qkv`) as { x: Float32Array };
    const largest = Math.max(...x.map((value, i) => value / (s[i] as number)));
    const [scale = 0] = await floats(stored.get("input_layernorm.scale_to_int"));
    expect(scale * largest).toBeCloseTo(127, 3);
  });
});

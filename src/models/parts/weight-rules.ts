import type { Split, VisualRule, WeightRule } from "../architecture.ts";

interface Linear {
  readonly out: number;
  readonly in: number;
  readonly bias: boolean;
  /** Stored as Conv1D, [in, out]. */
  readonly conv1d?: boolean;
}

/** Rules for the tensors of one layer: `to` under `target`, `from` under `prefix`, both with {l} in them. */
export interface LayerRules {
  /** Weight alone of an RMS norm. */
  rmsNorm(to: string, from: string, size: number): WeightRule[];
  /** Weight and bias of a layer norm. */
  norm(to: string, from: string, size: number): WeightRule[];
  /** A row-parallel product is summed over ranks, so its bias is kept whole and added once after the sum. */
  linear(to: string, from: string, split: Split, sizes: Linear): WeightRule[];
  /** q, k and v of `sizes` rows each, stored apart under three names. */
  qkv(from: readonly [string, string, string], sizes: readonly number[], input: number): WeightRule[];
  /** The same under another name than attention.qkv, with biases or without. */
  projections(
    to: string,
    from: readonly [string, string, string],
    sizes: readonly number[],
    input: number,
    bias: boolean,
  ): WeightRule[];
  /** q, k and v stored as one Conv1D. */
  fusedQkv(from: string, sizes: readonly number[], input: number): WeightRule[];
}

export function layerRules(prefix: string, target = "transformer.layers.{l}."): LayerRules {
  const rule = (to: string, split: Split, from: WeightRule["from"], more: Partial<WeightRule> = {}): WeightRule => ({
    to: target + to,
    from: from.map(({ name, shape }) => ({ name: prefix + name, shape })),
    split,
    stage: "layer",
    ...more,
  });
  const projections: LayerRules["projections"] = (to, from, sizes, input, bias) => [
    rule(
      `${to}.weight`,
      "qkv",
      from.map((name, i) => ({ name: `${name}.weight`, shape: [sizes[i] as number, input] })),
    ),
    ...(bias
      ? [
          rule(
            `${to}.bias`,
            "qkv",
            from.map((name, i) => ({ name: `${name}.bias`, shape: [sizes[i] as number] })),
          ),
        ]
      : []),
  ];
  return {
    rmsNorm: (to, from, size) => [rule(`${to}.weight`, "replicated", [{ name: `${from}.weight`, shape: [size] }])],
    norm: (to, from, size) =>
      ["weight", "bias"].map(part => rule(`${to}.${part}`, "replicated", [{ name: `${from}.${part}`, shape: [size] }])),
    linear: (to, from, split, { out, in: input, bias, conv1d }) => [
      conv1d
        ? rule(`${to}.weight`, split, [{ name: `${from}.weight`, shape: [input, out] }], { transpose: true })
        : rule(`${to}.weight`, split, [{ name: `${from}.weight`, shape: [out, input] }]),
      ...(bias
        ? [rule(`${to}.bias`, split === "row" ? "replicated" : split, [{ name: `${from}.bias`, shape: [out] }])]
        : []),
    ],
    qkv: (from, sizes, input) => projections("attention.qkv", from, sizes, input, true),
    projections,
    fusedQkv: (from, sizes, input) => {
      const rows = sizes.reduce((sum, size) => sum + size, 0);
      const weight = { name: `${from}.weight`, shape: [input, rows] };
      return [
        rule("attention.qkv.weight", "qkv", [weight], { transpose: true, cut: sizes }),
        rule("attention.qkv.bias", "qkv", [{ name: `${from}.bias`, shape: [rows] }], { cut: sizes }),
      ];
    },
  };
}

/** Weight and bias of a norm in the visual part. */
export function visualNorm(name: string, size: number): VisualRule[] {
  return [
    { name: `${name}.weight`, shape: [size] },
    { name: `${name}.bias`, shape: [size] },
  ];
}

/** A linear layer in the visual part. */
export function visualLinear(name: string, out: number, input: number, bias: boolean): VisualRule[] {
  return [{ name: `${name}.weight`, shape: [out, input] }, ...(bias ? [{ name: `${name}.bias`, shape: [out] }] : [])];
}

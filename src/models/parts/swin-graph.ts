import type { Graph, Value } from "../../graph/graph.ts";
import { GraphBuilder } from "../../graph/ops.ts";
import { activate } from "../../layers/activation.ts";
import { linear } from "../../layers/linear.ts";
import { layerNorm } from "../../layers/norm.ts";
import { mergeNeighbours, windowAttention } from "../../layers/swin.ts";
import { WeightSource } from "../../layers/weights.ts";
import type { GraphOptions, VisualRule } from "../architecture.ts";
import type { ModelSpec, SwinSpec } from "../spec.ts";
import { stageGrids } from "./swin-spec.ts";
import { visualLinear, visualNorm } from "./weight-rules.ts";

const PREFIX = "encoder";
/** PyTorch's LayerNorm: the norms of embeddings and merging take no epsilon from the config. */
const NORM_EPS = 1e-5;

const block = (stage: number, index: number): string => `${PREFIX}.encoder.layers.${stage}.blocks.${index}`;
const downsample = (stage: number): string => `${PREFIX}.encoder.layers.${stage}.downsample`;
const widthOf = (swin: SwinSpec, stage: number): number => swin.embedSize * 2 ** stage;
const innerOf = (swin: SwinSpec, stage: number): number => Math.trunc(swin.mlpRatio * widthOf(swin, stage));

/** Tables of offsets, the same for every model; transformers 4 stored them. The pooled head is not part of the features. */
export const SWIN_IGNORED: readonly RegExp[] = [/\.attention\.self\.relative_position_index$/];

export function swinWeights(swin: SwinSpec): VisualRule[] {
  const { embedSize, channels, patchSize, depths, windowSize, heads } = swin;
  const projection = `${PREFIX}.embeddings.patch_embeddings.projection`;
  const stages = depths.map((depth, stage) => {
    const [c, inner] = [widthOf(swin, stage), innerOf(swin, stage)];
    const blocks = Array.from({ length: depth }, (_, i): VisualRule[] => {
      const name = block(stage, i);
      return [
        ...visualNorm(`${name}.layernorm_before`, c),
        {
          name: `${name}.attention.self.relative_position_bias_table`,
          shape: [(2 * windowSize - 1) ** 2, heads[stage] as number],
        },
        ...["query", "key", "value"].flatMap(part =>
          visualLinear(`${name}.attention.self.${part}`, c, c, swin.qkvBias),
        ),
        ...visualLinear(`${name}.attention.output.dense`, c, c, true),
        ...visualNorm(`${name}.layernorm_after`, c),
        ...visualLinear(`${name}.intermediate.dense`, inner, c, true),
        ...visualLinear(`${name}.output.dense`, c, inner, true),
      ];
    });
    const merging =
      stage === depths.length - 1
        ? []
        : [
            ...visualNorm(`${downsample(stage)}.norm`, 4 * c),
            ...visualLinear(`${downsample(stage)}.reduction`, 2 * c, 4 * c, false),
          ];
    return [...blocks.flat(), ...merging];
  });
  return [
    { name: `${projection}.weight`, shape: [embedSize, channels, ...patchSize] },
    { name: `${projection}.bias`, shape: [embedSize] },
    ...visualNorm(`${PREFIX}.embeddings.norm`, embedSize),
    ...stages.flat(),
  ];
}

/** A Swin as the whole visual part: pixels [batch, channels, H, W] → the last stage's patches [batch, N, hidden]. */
export function swinGraph(spec: ModelSpec, options: GraphOptions): Graph {
  const { swin } = spec;
  if (swin === undefined) throw new Error(`${spec.architecture} has no Swin to build`);
  const g = new GraphBuilder("visual", options.dialect);
  const w = new WeightSource(options.weightDtype, options.computeDtype);
  const pixels = g.input("input", options.computeDtype, ["batch", swin.channels, ...swin.imageSize]);
  const grids = stageGrids(swin);
  let x = g.scope("embeddings", () => embedPatches(g, w, swin, pixels));
  for (const [stage, depth] of swin.depths.entries()) {
    for (let i = 0; i < depth; i++)
      x = g.scope(`stages.${stage}.${i}`, () => swinBlock(g, w, swin, x, stage, i, Math.min(...(grids[stage] ?? []))));
    g.tap(`stages.${stage}`, x);
    if (stage < swin.depths.length - 1) x = g.scope(`stages.${stage}.merge`, () => merge(g, w, swin, x, stage));
  }
  g.output(g.tap("vision", g.reshape(x, ["batch", swin.numVisualFeatures, swin.hiddenSize])), "output");
  return g.finish();
}

/** [batch, patches high, patches wide, embed]; zeros fill the last patch of a side. */
function embedPatches(g: GraphBuilder, w: WeightSource, swin: SwinSpec, pixels: Value): Value {
  const { embedSize, channels, patchSize, imageSize } = swin;
  const name = `${PREFIX}.embeddings.patch_embeddings.projection`;
  const [high, wide] = stageGrids(swin)[0] ?? [1, 1];
  const [below, right] = [high * patchSize[0] - imageSize[0], wide * patchSize[1] - imageSize[1]];
  const full = below + right === 0 ? pixels : g.pad(pixels, [0, 0, 0, 0], [0, 0, below, right]);
  const kernel = w.get(g, `${name}.weight`, [embedSize, channels, ...patchSize]);
  const grid = g.node(
    "Conv",
    [full, kernel, w.get(g, `${name}.bias`, [embedSize])],
    { dtype: pixels.dtype, shape: ["batch", embedSize, high, wide] },
    { strides: { ints: patchSize }, kernel_shape: { ints: patchSize } },
  );
  return layerNorm(g, w, g.transpose(grid, [0, 2, 3, 1]), `${PREFIX}.embeddings.norm`, NORM_EPS);
}

/** Pre-norm layer; every second one's windows are shifted by half, unless one window spans the smaller side. */
function swinBlock(
  g: GraphBuilder,
  w: WeightSource,
  swin: SwinSpec,
  x: Value,
  stage: number,
  index: number,
  smallerSide: number,
): Value {
  const { windowSize: size, qkvBias, normEps } = swin;
  const name = block(stage, index);
  const shift = index % 2 === 0 || smallerSide <= size ? 0 : Math.floor(size / 2);
  const sizes = { size, shift, heads: swin.heads[stage] as number, qkvBias };
  const mixed = g.scope("attention", () =>
    windowAttention(g, w, layerNorm(g, w, x, `${name}.layernorm_before`, normEps), `${name}.attention`, sizes),
  );
  const middle = g.add(x, mixed);
  const fed = g.scope("mlp", () => {
    const [c, inner] = [widthOf(swin, stage), innerOf(swin, stage)];
    const normed = layerNorm(g, w, middle, `${name}.layernorm_after`, normEps);
    const up = linear(g, w, normed, `${name}.intermediate.dense`, { in: c, out: inner, bias: true });
    return linear(g, w, activate(g, up, swin.activation), `${name}.output.dense`, { in: inner, out: c, bias: true });
  });
  return g.add(middle, fed);
}

function merge(g: GraphBuilder, w: WeightSource, swin: SwinSpec, x: Value, stage: number): Value {
  const c = widthOf(swin, stage);
  const normed = layerNorm(g, w, mergeNeighbours(g, x), `${downsample(stage)}.norm`, NORM_EPS);
  return linear(g, w, normed, `${downsample(stage)}.reduction`, { in: 4 * c, out: 2 * c });
}

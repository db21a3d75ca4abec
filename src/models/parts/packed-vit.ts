import type { SourceTensor, VisualRule } from "../architecture.ts";
import type { PackedVisionSpec } from "../spec.ts";
import { visualLinear, visualNorm } from "./weight-rules.ts";

/** What tells image encoders of packed patches apart, beyond sizes. */
export interface PackedTower {
  readonly norm: "layer" | "rms";
  readonly patchBias: boolean;
  /** Names of a layer's products: up and down, or gate, up and down. */
  readonly mlp: readonly [string, string] | readonly [string, string, string];
  /** Names of a projector's norm and products. */
  readonly merger: { readonly norm: string; readonly products: readonly [string, string] };
}

const QWEN2: PackedTower = {
  norm: "layer",
  patchBias: false,
  mlp: ["fc1", "fc2"],
  merger: { norm: "ln_q", products: ["mlp.0", "mlp.2"] },
};
const QWEN3_NAMES = ["linear_fc1", "linear_fc2"] as const;

export const PACKED_TOWERS: Readonly<Record<PackedVisionSpec["kind"], PackedTower>> = {
  qwen2_vl: QWEN2,
  qwen2_5_vl: { ...QWEN2, norm: "rms", mlp: ["gate_proj", "up_proj", "down_proj"] },
  qwen3_vl: { norm: "layer", patchBias: true, mlp: QWEN3_NAMES, merger: { norm: "norm", products: QWEN3_NAMES } },
};

/** Canonical name before every tensor of the encoder. */
export const PACKED = "visual";

/** The default of the classes, which no config sets. */
export const PACKED_EPS = 1e-6;

/** Values of a patch: a row of the engine's input. */
export function patchValues({ channels, temporalPatchSize, patchSize }: PackedVisionSpec): number {
  return channels * temporalPatchSize * patchSize ** 2;
}

/** Patches of a feature. */
export function patchesPerFeature({ mergeSize }: PackedVisionSpec): number {
  return mergeSize ** 2;
}

/** A projector: `name`, and whether its norm is of a feature's patches side by side, where the first one's is of each patch. */
export interface Merger {
  readonly name: string;
  readonly normsFeature: boolean;
}

export const MAIN_MERGER: Merger = { name: `${PACKED}.merger`, normsFeature: false };

/** The projector of the `index`-th of `deepstackLayers`. */
export function deepstackMerger(index: number): Merger {
  return { name: `${PACKED}.deepstack_merger_list.${index}`, normsFeature: true };
}

/** The encoder with its projectors. */
export function packedWeights(vision: PackedVisionSpec): VisualRule[] {
  const { kind, hiddenSize, channels, temporalPatchSize, patchSize, layers, tableSide, deepstackLayers = [] } = vision;
  const { patchBias } = PACKED_TOWERS[kind];
  const kernel = [hiddenSize, channels, temporalPatchSize, patchSize, patchSize];
  return [
    { name: `${PACKED}.patch_embed.proj.weight`, shape: kernel },
    ...(patchBias ? [{ name: `${PACKED}.patch_embed.proj.bias`, shape: [hiddenSize] }] : []),
    ...(tableSide === undefined ? [] : [{ name: `${PACKED}.pos_embed.weight`, shape: [tableSide ** 2, hiddenSize] }]),
    ...Array.from({ length: layers }, (_, layer) => layerWeights(vision, `${PACKED}.blocks.${layer}`)).flat(),
    ...mergerWeights(vision, MAIN_MERGER),
    ...deepstackLayers.flatMap((_, index) => mergerWeights(vision, deepstackMerger(index))),
  ];
}

function layerWeights(vision: PackedVisionSpec, name: string): VisualRule[] {
  const { kind, hiddenSize: hidden, intermediateSize: inner } = vision;
  const { mlp } = PACKED_TOWERS[kind];
  const down = mlp.at(-1) as string;
  return [
    ...normWeights(vision, `${name}.norm1`, hidden),
    ...visualLinear(`${name}.attn.qkv`, 3 * hidden, hidden, true),
    ...visualLinear(`${name}.attn.proj`, hidden, hidden, true),
    ...normWeights(vision, `${name}.norm2`, hidden),
    ...mlp.slice(0, -1).flatMap(product => visualLinear(`${name}.mlp.${product}`, inner, hidden, true)),
    ...visualLinear(`${name}.mlp.${down}`, hidden, inner, true),
  ];
}

function mergerWeights(vision: PackedVisionSpec, { name, normsFeature }: Merger): VisualRule[] {
  const { norm, products } = PACKED_TOWERS[vision.kind].merger;
  const wide = vision.hiddenSize * patchesPerFeature(vision);
  return [
    ...normWeights(vision, `${name}.${norm}`, normsFeature ? wide : vision.hiddenSize),
    ...visualLinear(`${name}.${products[0]}`, wide, wide, true),
    ...visualLinear(`${name}.${products[1]}`, vision.outputSize, wide, true),
  ];
}

function normWeights({ kind }: PackedVisionSpec, name: string, size: number): SourceTensor[] {
  return PACKED_TOWERS[kind].norm === "rms" ? [{ name: `${name}.weight`, shape: [size] }] : visualNorm(name, size);
}

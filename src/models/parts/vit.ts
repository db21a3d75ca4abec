import type { VisionSpec } from "../spec.ts";

/** What tells image encoders of the ViT kind apart, beyond sizes. */
export interface Tower {
  /** Canonical name before every tensor: what transformers 4 writes. */
  readonly name: string;
  /** A learned row before the patches. */
  readonly classToken: boolean;
  readonly patchBias: boolean;
  /** Class token and positions are bare parameters of three axes instead of an embedding's table. */
  readonly bareTables: boolean;
  /** Norm between embeddings and layers. "pre_layrnorm" is how CLIP's published weights spell it. */
  readonly preNorm?: string;
  /** Norm after the last layer: part of the features, behind the hidden states they are taken from, or none. */
  readonly lastNorm: "used" | "unread" | "none";
  /** q, k and v in one product. */
  readonly fusedQkv: boolean;
  /** The attention's output product. */
  readonly outProjection: string;
  /** What attention and MLP give is multiplied by a learned vector, `lambda_1` and `lambda_2`, before it is added to x. */
  readonly layerScale?: boolean;
}

const CLIP: Tower = {
  name: "vision_tower.vision_model",
  classToken: true,
  patchBias: false,
  bareTables: false,
  preNorm: "pre_layrnorm",
  lastNorm: "unread",
  fusedQkv: false,
  outProjection: "out_proj",
};

const { preNorm: _, ...WITHOUT_PRE_NORM } = CLIP;

/** CLIP: LLaVA and VILA · SigLIP: VILA 1.5 · the same with its last norm: Gemma 3, PaliGemma, Idefics3, SmolVLM · EVA ViT-g: BLIP-2 · InternViT: InternVL. */
export const TOWERS: Readonly<Record<VisionSpec["kind"], Tower>> = {
  clip: CLIP,
  siglip: { ...WITHOUT_PRE_NORM, classToken: false, patchBias: true },
  siglip_normed: { ...WITHOUT_PRE_NORM, classToken: false, patchBias: true, lastNorm: "used" },
  // Patches of a whole tile have positions 0, 1, 2, …: the fractions that transformers sorts into buckets are those of its grid.
  idefics3: { ...WITHOUT_PRE_NORM, name: "vision_model", classToken: false, patchBias: true, lastNorm: "used" },
  eva: {
    ...WITHOUT_PRE_NORM,
    name: "vision_model",
    patchBias: true,
    bareTables: true,
    lastNorm: "used",
    fusedQkv: true,
    outProjection: "projection",
  },
  internvit: { ...WITHOUT_PRE_NORM, patchBias: true, bareTables: true, lastNorm: "none", layerScale: true },
};

/** Patches along one edge; what does not fill a patch is cut off. */
export function patchesPerSide({ imageSize, patchSize }: Pick<VisionSpec, "imageSize" | "patchSize">): number {
  return Math.floor(imageSize / patchSize);
}

/** Rows the encoder works on: patches, and the class token where there is one. */
export function towerTokens(vision: Pick<VisionSpec, "kind" | "imageSize" | "patchSize">): number {
  return patchesPerSide(vision) ** 2 + (TOWERS[vision.kind].classToken ? 1 : 0);
}

import type { NameRule, SourceTensor, VisualRule } from "../architecture.ts";
import type { ProjectorSpec, VisionSpec } from "../spec.ts";

const TOWER = "vision_tower.vision_model";

/** transformers 5 saves the tower without the inner `vision_model.`. */
export const CLIP_NAMES: readonly NameRule[] = [
  {
    stored: /^(?:model\.)?vision_tower\.(?:vision_model\.)?(embeddings|encoder|pre_layrnorm|post_layernorm)\./,
    canonical: `${TOWER}.$1.`,
  },
  { stored: /^model\.multi_modal_projector\./, canonical: "multi_modal_projector." },
];

/** Buffers, the norm after the last layer (features are taken before it), and every layer past the feature layer. */
export function clipIgnored(vision: VisionSpec): RegExp[] {
  const unused = Array.from({ length: vision.layers - vision.runLayers }, (_, i) => vision.runLayers + i);
  return [
    /^vision_tower\.vision_model\.embeddings\.position_ids$/,
    /^vision_tower\.vision_model\.post_layernorm\.(weight|bias)$/,
    ...(unused.length > 0
      ? [new RegExp(`^vision_tower\\.vision_model\\.encoder\\.layers\\.(${unused.join("|")})\\.`)]
      : []),
  ];
}

/** What `clipIgnored` matches and transformers saves. */
export function clipUnused(vision: VisionSpec): SourceTensor[] {
  const layers = Array.from(
    { length: vision.layers - vision.runLayers },
    (_, i) => `${TOWER}.encoder.layers.${vision.runLayers + i}`,
  );
  return [...layers.flatMap(name => encoderLayer(vision, name)), ...norm(`${TOWER}.post_layernorm`, vision.hiddenSize)];
}

/** The tower up to the feature layer, under transformers 4's names. */
export function clipWeights(vision: VisionSpec): VisualRule[] {
  const { hiddenSize: hidden, channels, patchSize, imageSize, runLayers } = vision;
  const positions = Math.floor(imageSize / patchSize) ** 2 + 1;
  return [
    { name: `${TOWER}.embeddings.class_embedding`, shape: [hidden] },
    { name: `${TOWER}.embeddings.patch_embedding.weight`, shape: [hidden, channels, patchSize, patchSize] },
    { name: `${TOWER}.embeddings.position_embedding.weight`, shape: [positions, hidden] },
    ...norm(`${TOWER}.pre_layrnorm`, hidden),
    ...Array.from({ length: runLayers }, (_, layer) => encoderLayer(vision, `${TOWER}.encoder.layers.${layer}`)).flat(),
  ];
}

export function projectorWeights({ inputSize, hiddenSize, outputSize, bias }: ProjectorSpec): VisualRule[] {
  return [
    ...linear("multi_modal_projector.linear_1", hiddenSize, inputSize, bias),
    ...linear("multi_modal_projector.linear_2", outputSize, hiddenSize, bias),
  ];
}

function encoderLayer({ hiddenSize, intermediateSize }: VisionSpec, name: string): VisualRule[] {
  return [
    ...norm(`${name}.layer_norm1`, hiddenSize),
    ...["q_proj", "k_proj", "v_proj", "out_proj"].flatMap(part =>
      linear(`${name}.self_attn.${part}`, hiddenSize, hiddenSize, true),
    ),
    ...norm(`${name}.layer_norm2`, hiddenSize),
    ...linear(`${name}.mlp.fc1`, intermediateSize, hiddenSize, true),
    ...linear(`${name}.mlp.fc2`, hiddenSize, intermediateSize, true),
  ];
}

function norm(name: string, size: number): VisualRule[] {
  return [
    { name: `${name}.weight`, shape: [size] },
    { name: `${name}.bias`, shape: [size] },
  ];
}

function linear(name: string, out: number, input: number, bias: boolean): VisualRule[] {
  return [{ name: `${name}.weight`, shape: [out, input] }, ...(bias ? [{ name: `${name}.bias`, shape: [out] }] : [])];
}

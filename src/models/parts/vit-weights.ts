import type { NameRule, SourceTensor, VisualRule } from "../architecture.ts";
import type { VisionSpec } from "../spec.ts";
import { TOWERS, towerTokens } from "./vit.ts";
import { visualLinear, visualNorm } from "./weight-rules.ts";

/** CLIP and SigLIP inside a multimodal model: transformers 5 saves the tower without the inner `vision_model.`. */
export const TOWER_NAMES: readonly NameRule[] = [
  {
    stored: /^(?:model\.)?vision_tower\.(?:vision_model\.)?(embeddings|encoder|pre_layrnorm|post_layernorm|head)\./,
    canonical: `${TOWERS.clip.name}.$1.`,
  },
];

/** Buffers, the norm behind the feature layer, SigLIP's pooling head, and every layer past the feature layer. */
export function towerIgnored(vision: VisionSpec): RegExp[] {
  const { name, lastNorm } = TOWERS[vision.kind];
  const tower = name.replaceAll(".", "\\.");
  const unused = unusedLayers(vision);
  return [
    new RegExp(`^${tower}\\.embeddings\\.position_ids$`),
    new RegExp(`^${tower}\\.(${lastNorm === "used" ? "" : "post_layernorm|"}head)\\.`),
    ...(unused.length > 0 ? [new RegExp(`^${tower}\\.encoder\\.layers\\.(${unused.join("|")})\\.`)] : []),
  ];
}

/** What `towerIgnored` matches and transformers saves. */
export function towerUnused(vision: VisionSpec): SourceTensor[] {
  const { name, lastNorm } = TOWERS[vision.kind];
  return [
    ...unusedLayers(vision).flatMap(layer => encoderLayer(vision, `${name}.encoder.layers.${layer}`)),
    ...(lastNorm !== "unread" ? [] : visualNorm(`${name}.post_layernorm`, vision.hiddenSize)),
  ];
}

/** The tower up to the feature layer, under transformers 4's names. */
export function towerWeights(vision: VisionSpec): VisualRule[] {
  const { hiddenSize: hidden, channels, patchSize, runLayers } = vision;
  const { name, classToken, patchBias, bareTables, preNorm, lastNorm } = TOWERS[vision.kind];
  const rows = towerTokens(vision);
  const positions = bareTables
    ? { name: `${name}.embeddings.position_embedding`, shape: [1, rows, hidden] }
    : { name: `${name}.embeddings.position_embedding.weight`, shape: [rows, hidden] };
  return [
    ...(classToken
      ? [{ name: `${name}.embeddings.class_embedding`, shape: bareTables ? [1, 1, hidden] : [hidden] }]
      : []),
    { name: `${name}.embeddings.patch_embedding.weight`, shape: [hidden, channels, patchSize, patchSize] },
    ...(patchBias ? [{ name: `${name}.embeddings.patch_embedding.bias`, shape: [hidden] }] : []),
    positions,
    ...(preNorm === undefined ? [] : visualNorm(`${name}.${preNorm}`, hidden)),
    ...Array.from({ length: runLayers }, (_, layer) => encoderLayer(vision, `${name}.encoder.layers.${layer}`)).flat(),
    ...(lastNorm === "used" ? visualNorm(`${name}.post_layernorm`, hidden) : []),
  ];
}

function unusedLayers({ layers, runLayers }: VisionSpec): number[] {
  return Array.from({ length: layers - runLayers }, (_, i) => runLayers + i);
}

function encoderLayer(vision: VisionSpec, name: string): VisualRule[] {
  const { hiddenSize: hidden, intermediateSize, qkvBias } = vision;
  const { fusedQkv, outProjection, layerScale } = TOWERS[vision.kind];
  const vectors = (...names: readonly string[]): VisualRule[] =>
    names.map(one => ({ name: `${name}.${one}`, shape: [hidden] }));
  const norm = (one: string): VisualRule[] =>
    vision.norm === "rms" ? vectors(`${one}.weight`) : visualNorm(`${name}.${one}`, hidden);
  return [
    ...norm("layer_norm1"),
    ...(fusedQkv
      ? visualLinear(`${name}.self_attn.qkv`, 3 * hidden, hidden, qkvBias !== false)
      : ["q_proj", "k_proj", "v_proj"].flatMap(part =>
          visualLinear(`${name}.self_attn.${part}`, hidden, hidden, qkvBias !== false),
        )),
    ...(vision.qkNorm ? vectors("self_attn.q_norm.weight", "self_attn.k_norm.weight") : []),
    ...visualLinear(`${name}.self_attn.${outProjection}`, hidden, hidden, true),
    ...norm("layer_norm2"),
    ...(layerScale ? vectors("lambda_1", "lambda_2") : []),
    ...visualLinear(`${name}.mlp.fc1`, intermediateSize, hidden, true),
    ...visualLinear(`${name}.mlp.fc2`, hidden, intermediateSize, true),
  ];
}

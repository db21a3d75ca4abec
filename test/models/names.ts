/** What `LlamaForCausalLM.save_pretrained` writes, written down from its output and not from the product's rules. */
export function llamaTensors(sizes: {
  hidden: number;
  q: number;
  kv: number;
  intermediate: number;
  vocab: number;
  layers: number;
}): Record<string, number[]> {
  const { hidden, q, kv, intermediate, vocab, layers } = sizes;
  const tensors: Record<string, number[]> = {
    "lm_head.weight": [vocab, hidden],
    "model.embed_tokens.weight": [vocab, hidden],
    "model.norm.weight": [hidden],
  };
  for (let l = 0; l < layers; l++) {
    const layer = `model.layers.${l}`;
    tensors[`${layer}.input_layernorm.weight`] = [hidden];
    tensors[`${layer}.mlp.down_proj.weight`] = [hidden, intermediate];
    tensors[`${layer}.mlp.gate_proj.weight`] = [intermediate, hidden];
    tensors[`${layer}.mlp.up_proj.weight`] = [intermediate, hidden];
    tensors[`${layer}.post_attention_layernorm.weight`] = [hidden];
    tensors[`${layer}.self_attn.k_proj.weight`] = [kv, hidden];
    tensors[`${layer}.self_attn.o_proj.weight`] = [hidden, q];
    tensors[`${layer}.self_attn.q_proj.weight`] = [q, hidden];
    tensors[`${layer}.self_attn.v_proj.weight`] = [kv, hidden];
  }
  return tensors;
}

/** Tensors that each of `layers` has under `model.layers.L.`. */
export function perLayer(layers: number, tensors: Record<string, number[]>): Record<string, number[]> {
  const of = (layer: number): [string, number[]][] =>
    Object.entries(tensors).map(([name, shape]) => [`model.layers.${layer}.${name}`, shape]);
  return Object.fromEntries(Array.from({ length: layers }, (_, layer) => of(layer)).flat());
}

/** The CLIP tower and the projector of `LlavaForConditionalGeneration.save_pretrained` in transformers 4. */
export function clipTensors(sizes: {
  hidden: number;
  intermediate: number;
  layers: number;
  patch: number;
  positions: number;
  llm: number;
}): Record<string, number[]> {
  const { hidden, intermediate, layers, patch, positions, llm } = sizes;
  const tower = "vision_tower.vision_model";
  const tensors: Record<string, number[]> = {
    "multi_modal_projector.linear_1.bias": [llm],
    "multi_modal_projector.linear_1.weight": [llm, hidden],
    "multi_modal_projector.linear_2.bias": [llm],
    "multi_modal_projector.linear_2.weight": [llm, llm],
    [`${tower}.embeddings.class_embedding`]: [hidden],
    [`${tower}.embeddings.patch_embedding.weight`]: [hidden, 3, patch, patch],
    [`${tower}.embeddings.position_embedding.weight`]: [positions, hidden],
    [`${tower}.post_layernorm.bias`]: [hidden],
    [`${tower}.post_layernorm.weight`]: [hidden],
    [`${tower}.pre_layrnorm.bias`]: [hidden],
    [`${tower}.pre_layrnorm.weight`]: [hidden],
  };
  for (let l = 0; l < layers; l++) {
    const layer = `${tower}.encoder.layers.${l}`;
    for (const norm of ["layer_norm1", "layer_norm2"])
      for (const part of ["weight", "bias"]) tensors[`${layer}.${norm}.${part}`] = [hidden];
    for (const name of ["q_proj", "k_proj", "v_proj", "out_proj"]) {
      tensors[`${layer}.self_attn.${name}.weight`] = [hidden, hidden];
      tensors[`${layer}.self_attn.${name}.bias`] = [hidden];
    }
    tensors[`${layer}.mlp.fc1.weight`] = [intermediate, hidden];
    tensors[`${layer}.mlp.fc1.bias`] = [intermediate];
    tensors[`${layer}.mlp.fc2.weight`] = [hidden, intermediate];
    tensors[`${layer}.mlp.fc2.bias`] = [hidden];
  }
  return tensors;
}

/** The SigLIP tower without its head, as transformers 4 saves it inside another model. */
export function siglipTensors(sizes: {
  hidden: number;
  intermediate: number;
  layers: number;
  patch: number;
  positions: number;
}): Record<string, number[]> {
  const { hidden, patch } = sizes;
  const tower = "vision_tower.vision_model";
  const clip = Object.entries(clipTensors({ ...sizes, llm: 1 })).filter(
    ([name]) => name.startsWith(tower) && !/class_embedding|pre_layrnorm/.test(name),
  );
  return {
    ...Object.fromEntries(clip),
    [`${tower}.embeddings.patch_embedding.bias`]: [hidden],
    [`${tower}.embeddings.patch_embedding.weight`]: [hidden, 3, patch, patch],
  };
}

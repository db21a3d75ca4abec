/** What transformers' save_pretrained writes for untied models, written down from its output. */

interface Sizes {
  readonly hidden: number;
  readonly intermediate: number;
  readonly vocab: number;
  readonly positions: number;
  readonly layers: number;
}

function both(tensors: Record<string, number[]>, name: string, shape: number[], bias: number): void {
  tensors[`${name}.weight`] = shape;
  tensors[`${name}.bias`] = [bias];
}

export function optTensors({ hidden, intermediate, vocab, positions, layers }: Sizes): Record<string, number[]> {
  const decoder = "model.decoder";
  const tensors: Record<string, number[]> = {
    "lm_head.weight": [vocab, hidden],
    [`${decoder}.embed_positions.weight`]: [positions + 2, hidden],
    [`${decoder}.embed_tokens.weight`]: [vocab, hidden],
  };
  both(tensors, `${decoder}.final_layer_norm`, [hidden], hidden);
  for (let l = 0; l < layers; l++) {
    const layer = `${decoder}.layers.${l}`;
    both(tensors, `${layer}.fc1`, [intermediate, hidden], intermediate);
    both(tensors, `${layer}.fc2`, [hidden, intermediate], hidden);
    for (const norm of ["final_layer_norm", "self_attn_layer_norm"])
      both(tensors, `${layer}.${norm}`, [hidden], hidden);
    for (const name of ["k_proj", "out_proj", "q_proj", "v_proj"])
      both(tensors, `${layer}.self_attn.${name}`, [hidden, hidden], hidden);
  }
  return tensors;
}

export function gpt2Tensors({ hidden, intermediate, vocab, positions, layers }: Sizes): Record<string, number[]> {
  const tensors: Record<string, number[]> = {
    "lm_head.weight": [vocab, hidden],
    "transformer.wpe.weight": [positions, hidden],
    "transformer.wte.weight": [vocab, hidden],
  };
  both(tensors, "transformer.ln_f", [hidden], hidden);
  for (let l = 0; l < layers; l++) {
    const layer = `transformer.h.${l}`;
    both(tensors, `${layer}.attn.c_attn`, [hidden, 3 * hidden], 3 * hidden);
    both(tensors, `${layer}.attn.c_proj`, [hidden, hidden], hidden);
    both(tensors, `${layer}.mlp.c_fc`, [hidden, intermediate], intermediate);
    both(tensors, `${layer}.mlp.c_proj`, [intermediate, hidden], hidden);
    for (const norm of ["ln_1", "ln_2"]) both(tensors, `${layer}.${norm}`, [hidden], hidden);
  }
  return tensors;
}

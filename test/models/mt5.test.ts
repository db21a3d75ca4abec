import { describe, expect, it } from "vitest";
import { readModel } from "../../src/models/registry.ts";

/** google/mt5-small's; what its graphs compute is compared with transformers in test/parity (t5_multilingual_gated). */
const MT5 = {
  ...{ architectures: ["MT5ForConditionalGeneration"], model_type: "mt5", d_ff: 1024, d_kv: 64, d_model: 512 },
  ...{ num_layers: 8, num_decoder_layers: 8, num_heads: 6, vocab_size: 250_112, relative_attention_num_buckets: 32 },
  ...{ feed_forward_proj: "gated-gelu", tie_word_embeddings: false, tokenizer_class: "T5Tokenizer" },
  ...{ decoder_start_token_id: 0, eos_token_id: 1, pad_token_id: 0, layer_norm_epsilon: 1e-6, dropout_rate: 0.1 },
  ...{ initializer_factor: 1.0, is_encoder_decoder: true, output_past: true, use_cache: true },
};

describe("an mT5 config", () => {
  it.each([false, true])("is T5 v1.1 with an lm_head of its own, also where tie_word_embeddings is %s", tied => {
    const { spec, architecture } = readModel({ ...MT5, tie_word_embeddings: tied });
    expect(spec.language).toMatchObject({ mlp: "gated", activation: "gelu_tanh", tiedEmbeddings: false, heads: 6 });
    expect(spec.encoderDecoder).toMatchObject({ scaledLogits: false, relative: { buckets: 32, maxDistance: 128 } });
    const names = architecture.weights(spec).language.flatMap(({ from }) => from.map(({ name }) => name));
    expect(names).toContain("lm_head.weight");
    expect(spec).toMatchObject({ architecture: "MT5ForConditionalGeneration", modelType: "mt5", eosTokenIds: [1] });
  });

  it.each([
    [{ feed_forward_proj: undefined }, /SPC001.*feed_forward_proj/s],
    [{ num_heads: undefined }, /SPC001.*num_heads/s],
    [{ sliding_window: 4 }, /SPC003.*sliding_window/s],
  ])("is refused with %o", (change, message) => {
    expect(() => readModel({ ...MT5, ...change })).toThrow(message);
  });
});

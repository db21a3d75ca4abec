import { defineArchitecture, type ModelWeights } from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import { readBart } from "./parts/bart-spec.ts";
import { bartDecoderWeights } from "./parts/bart-weights.ts";
import { readDeclaredDtype, readSharedKeys, readTokenIds, refuseQuantized } from "./parts/common-keys.ts";
import { encoderDecoderLimits, stackConfig } from "./parts/encoder-decoder-config.ts";
import { crossGraph, encoderDecoderGraph } from "./parts/encoder-decoder-graph.ts";
import { SWIN_IGNORED, swinGraph, swinWeights } from "./parts/swin-graph.ts";
import { readSwin } from "./parts/swin-spec.ts";
import type { ModelSpec } from "./spec.ts";

/** Everything mmtrt knows about Nougat and Donut: a Swin whose features an mBART decoder attends to, without a prompt. */
export default defineArchitecture({
  hf: ["VisionEncoderDecoderModel"],
  readSpec: c => c.finish(readNougat(c)),
  weights: weightsOf,
  checkpointConfig: (spec, layout) => stackConfig(spec, layout, "decoder", "bart"),
  limits: encoderDecoderLimits,
  languageGraph: encoderDecoderGraph,
  crossGraph,
  visualGraph: swinGraph,
});

function readNougat(c: ConfigReader): ModelSpec {
  readSharedKeys(c);
  refuseQuantized(c);
  c.only("is_encoder_decoder", [true], "the model is an encoder and a decoder");
  c.ignore("tie_word_embeddings", "processor_class", "vocab_size");
  const [vision, text] = [c.object("encoder"), c.object("decoder")];
  const swin = readSwin(vision);
  text.only("model_type", ["mbart"], "other decoders have tensors and numbers of their own");
  text.only("cross_attention_hidden_size", [null, swin.hiddenSize], "the encoder's features have another width");
  const { language, encoderDecoder } = readBart(text, "mbart", { encoderSize: swin.hiddenSize });
  if (c.sound && swin.hiddenSize !== language.hiddenSize)
    text.problem(
      "SPC006",
      "d_model",
      `is ${language.hiddenSize}, and the encoder's features have ${swin.hiddenSize} channels`,
      "TensorRT-LLM keeps q, k and v of cross-attention in one product, so both must have the same width",
      "convert a checkpoint whose encoder and decoder have the same width",
    );
  const id = (key: string): number | undefined => readTokenIds(c, key)[0] ?? readTokenIds(text, key)[0];
  const [bos, pad, start] = [id("bos_token_id"), id("pad_token_id"), id("decoder_start_token_id")];
  const eos = [readTokenIds(c, "eos_token_id"), readTokenIds(text, "eos_token_id")].find(ids => ids.length > 0);
  return {
    architecture: "VisionEncoderDecoderModel",
    modelType: "vision-encoder-decoder",
    declaredDtype: readDeclaredDtype(c) ?? readDeclaredDtype(text),
    language,
    encoderDecoder: { ...encoderDecoder, ...(start !== undefined && { decoderStartTokenId: start }) },
    swin,
    ...(bos !== undefined && { bosTokenId: bos }),
    eosTokenIds: eos ?? [2],
    ...(pad !== undefined && { padTokenId: pad }),
  };
}

function weightsOf(spec: ModelSpec): ModelWeights {
  return {
    names: [],
    ...bartDecoderWeights(spec, "decoder."),
    visual: spec.swin ? swinWeights(spec.swin) : [],
    ignore: SWIN_IGNORED,
  };
}

import { defineArchitecture } from "./architecture.ts";
import { readTextIdentity } from "./parts/common-keys.ts";
import { encoderDecoderLimits, stackConfig } from "./parts/encoder-decoder-config.ts";
import { crossGraph, encoderDecoderGraph, encoderGraph } from "./parts/encoder-decoder-graph.ts";
import { readT5 } from "./parts/t5-spec.ts";
import { t5Known, t5Weights } from "./parts/t5-weights.ts";

/** Everything mmtrt knows about T5, v1.0 and the gated v1.1 that FLAN-T5 is. */
export default defineArchitecture({
  // The second is the class's name before transformers 3, under which t5-small … t5-11b were published.
  hf: ["T5ForConditionalGeneration", "T5WithLMHeadModel"],
  readSpec: c => c.finish({ ...readTextIdentity(c, "T5ForConditionalGeneration", "t5"), ...readT5(c, false) }),
  weights: spec => ({ names: [], ...t5Weights(spec), visual: [], ...t5Known(spec) }),
  checkpointConfig: (spec, layout) => stackConfig(spec, layout, "decoder", "t5"),
  encoderConfig: (spec, layout) => stackConfig(spec, layout, "encoder", "t5"),
  limits: encoderDecoderLimits,
  languageGraph: encoderDecoderGraph,
  encoderGraph,
  crossGraph,
});

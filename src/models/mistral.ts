import { defineArchitecture } from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import { onlyFullAttention } from "./parts/common-keys.ts";
import { textOnly } from "./parts/language.ts";
import { LLAMA } from "./parts/llama-decoder.ts";
import type { DecoderSpec } from "./spec.ts";

/** Everything mmtrt knows about Mistral: LLaMA, in the first release with a sliding window. */
export default defineArchitecture(
  textOnly({ ...LLAMA, architecture: "MistralForCausalLM", modelType: "mistral", read: readMistralDecoder }),
);

function readMistralDecoder(c: ConfigReader, nested: boolean): DecoderSpec {
  const spec = { ...LLAMA.read(c, nested), architecture: "MistralForCausalLM" };
  onlyFullAttention(c);
  if (c.has("sliding_window") && c.integer("sliding_window") < spec.maxPositions) {
    c.problem(
      "SPC004",
      "sliding_window",
      `is ${c.raw("sliding_window")}, shorter than max_position_embeddings ${spec.maxPositions}`,
      "tokens further back than the window would have to be hidden, and the graph shows all of them",
      "convert a release without a window (Mistral 7B from v0.2 on), or lower max_position_embeddings to the window if prompts and answers stay within it",
    );
  }
  c.ignore("sliding_window");
  return spec;
}

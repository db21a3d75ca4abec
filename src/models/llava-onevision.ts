import type { AnyresRule } from "../vision/index.ts";
import type { ConfigReader } from "./config-reader.ts";
import { MISTRAL } from "./mistral.ts";
import { type AnyresFamily, readAnyresSpec } from "./parts/anyres-spec.ts";
import { LLAMA } from "./parts/llama-decoder.ts";
import { llavaNames } from "./parts/llava-names.ts";
import { checkProcessorKey } from "./parts/processor-keys.ts";
import { type LanguageFamilies, visionLanguage } from "./parts/vision-language.ts";
import { QWEN2 } from "./qwen2.ts";

/** By `text_config.model_type`: Qwen2 in the published ones. */
const LANGUAGES: LanguageFamilies = { qwen2: QWEN2, llama: LLAMA, mistral: MISTRAL };

const EDGES = [384, 768, 1152, 1536, 1920, 2304];

const ONEVISION: AnyresFamily = {
  architecture: "LlavaOnevisionForConditionalGeneration",
  modelType: "llava_onevision",
  whole: "LLaVA-OneVision",
  text: "qwen2",
  towers: ["siglip_vision_model", "clip_vision_model"],
  feature: { layer: -1, dropClassToken: false },
  imageToken: 151_646,
  ids: { bos: 151_643, eos: 151_645 },
  pinpoints: EDGES.flatMap(height => EDGES.map(width => [height, width] as const)),
  readMore: readLimits,
};

/**
 * Everything mmtrt knows about LLaVA-OneVision: LLaVA-NeXT over up to 36 tiles, features beyond those of nine tiles resized to about as many;
 * several images of a prompt are a square tile each. Videos are not taken.
 */
export default visionLanguage({
  hf: [ONEVISION.architecture],
  readsProcessor: true,
  families: LANGUAGES,
  readSpec: c => readAnyresSpec(c.ignore("video_token_index", "video_token_id"), LANGUAGES, ONEVISION),
  names: llavaNames,
  languagePrefix: "language_model.",
});

const ASPECT_RATIO = "vision_aspect_ratio";

function readLimits(c: ConfigReader): Pick<AnyresRule, "max_tiles" | "squares_several"> {
  const words = c.text(ASPECT_RATIO, "anyres_max_9");
  checkProcessorKey(c, ASPECT_RATIO, words, `${ASPECT_RATIO} of config.json`);
  const most = Number(/^anyres_max_([1-9]\d{0,3})$/.exec(words)?.[1] ?? 0);
  if (most === 0)
    c.problem(
      "SPC002",
      ASPECT_RATIO,
      `is ${JSON.stringify(words.slice(0, 100))}; expected anyres_max_ and a number of tiles`,
      "features beyond those of so many tiles are resized",
      "give vision_aspect_ratio as it was trained, anyres_max_9 in published models",
    );
  return { max_tiles: most, squares_several: true };
}

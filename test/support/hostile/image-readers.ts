import { join } from "node:path";
import { readJsonObject } from "../../../src/formats/json.ts";
import { visualTokensOf } from "../../../src/models/parts/visual-tokens.ts";
import { readModel } from "../../../src/models/registry.ts";
import { loadImage, openImageProcessor } from "../../../src/runtime/image/load.ts";
import {
  featureRows,
  fittingSizes,
  promptPieces,
  ruleProblem,
  sizeProblem,
  tokenBounds,
  tokensBeside,
  tokensOf,
  unitsOf,
  type VisualTokenRule,
} from "../../../src/vision/index.ts";
import { copied, fixture, parity, type Reader } from "./reader.ts";

const PICTURE = fixture("image/rgb-61x43.png");

/** Families whose pictures bring different numbers of tokens: what their rule makes of any picture must end. */
const RULES: readonly string[] = [
  ...["idefics3_chat", "internvl_qwen2", "llava_next_mistral", "onevision_qwen2", "qwen2_5_vl_chat", "gemma3_images"],
];
const SIZES = [
  { width: 1, height: 1 },
  { width: 61, height: 43 },
  { width: 989, height: 1989 },
  { width: 19, height: 65_536 },
];

function processor(name: string, file: string): Reader {
  return {
    name: `${file} of ${name}`,
    form: "json",
    prepare: copied(join(fixture(name), file), PICTURE),
    read: async dir => loadImage(join(dir, "rgb-61x43.png"), await openImageProcessor(dir)),
  };
}

/** The rule of a family as a manifest has it, with the numbers of a model's own config. */
function rule(model: string): Reader {
  return {
    name: `rule of visual tokens of ${model}`,
    form: "json",
    prepare: async dir => {
      const { writeFile } = await import("node:fs/promises");
      const { spec } = readModel(await readJsonObject(join(parity(model), "config.json")));
      await writeFile(join(dir, "rule.json"), JSON.stringify(visualTokensOf(spec)));
      return "rule.json";
    },
    read: async dir => {
      const json = await readJsonObject(join(dir, "rule.json"));
      if (ruleProblem(json) !== undefined) return undefined;
      return allOf(json as unknown as VisualTokenRule);
    },
  };
}

/** Everything that build, plan and run ask a rule for. */
function allOf(given: VisualTokenRule): unknown {
  const images = SIZES.filter(size => sizeProblem(given, size) === undefined).map(size => tokensOf(given, size));
  const beside = tokensBeside(given);
  for (const image of beside === undefined ? images : [...images, beside]) {
    promptPieces(given, image);
    unitsOf(given, image);
    featureRows(given, image);
  }
  fittingSizes(given, 1.5, { tokens: 1989, units: 5 } as never);
  return tokenBounds(given);
}

export const IMAGE_READERS: readonly Reader[] = [
  processor("parity/idefics3_chat", "preprocessor_config.json"),
  processor("parity/qwen2_5_vl_chat", "preprocessor_config.json"),
  processor("parity/qwen3_vl_odd", "preprocessor_config.json"),
  processor("models/internvl-shapes", "preprocessor_config.json"),
  processor("models/smolvlm-shapes", "processor_config.json"),
  processor("models/vila-shapes/vision_tower", "preprocessor_config.json"),
  ...RULES.map(rule),
];

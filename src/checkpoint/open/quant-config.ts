import { join } from "node:path";
import { isJsonObject, type JsonObject, readJsonObject } from "../../formats/json.ts";

/** Where ModelOpt says how a checkpoint is quantized, unless config.json says it too. */
const FILE = "hf_quant_config.json";

/** config.json with a `quantization_config` made of hf_quant_config.json, where that is the only one to say it. */
export async function withQuantConfig(dir: string, names: readonly string[], config: JsonObject): Promise<JsonObject> {
  if (!names.includes(FILE) || (config.quantization_config ?? null) !== null) return config;
  const { quantization, producer } = await readJsonObject(join(dir, FILE));
  const section = isJsonObject(quantization) ? quantization : {};
  return { ...config, quantization_config: { quant_method: "modelopt", ...section, ...(producer && { producer }) } };
}

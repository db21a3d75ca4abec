import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openHf } from "../../src/checkpoint/open.ts";
import { writeSafetensors } from "../../src/formats/safetensors.ts";
import { fromStored, named } from "../../src/tensor/index.ts";

/** Files that belong to words alone. */
const TOKENIZER = ["tokenizer.json", "tokenizer_config.json"];

/** A multimodal checkpoint taken apart as its authors started: `see` without a language model, and `speak`, one alone. */
export async function splitLanguage(
  model: string,
  into: string,
  architecture: string,
): Promise<{ readonly see: string; readonly speak: string }> {
  const [see, speak] = [join(into, "see"), join(into, "speak")];
  await Promise.all([see, speak].map(dir => mkdir(dir, { recursive: true })));
  const source = await openHf(model);
  try {
    const own = /^(?:model\.)?language_model\./;
    const parts = [...source.tensors.values()].map(tensor => ({
      speaks: own.test(tensor.name) || tensor.name.startsWith("lm_head."),
      recipe: named(tensor.name.replace(own, ""), fromStored(tensor)),
    }));
    const of = (speaks: boolean): Parameters<typeof writeSafetensors>[1] =>
      parts.filter(part => part.speaks === speaks).map(({ recipe }) => recipe);
    await writeSafetensors(join(see, "model.safetensors"), of(false));
    await writeSafetensors(join(speak, "model.safetensors"), of(true));
    for (const name of source.extraFiles)
      await copyFile(join(model, name), join(TOKENIZER.includes(name) ? speak : see, name));
  } finally {
    await source.close();
  }
  const config = JSON.parse(await readFile(join(model, "config.json"), "utf8")) as Record<string, unknown>;
  await writeFile(join(see, "config.json"), JSON.stringify(config));
  const text = config.text_config as Record<string, unknown>;
  await writeFile(join(speak, "config.json"), JSON.stringify({ ...text, architectures: [architecture] }));
  return { see, speak };
}

import { FilePool } from "../formats/file.ts";
import { openSafetensors } from "../formats/safetensors.ts";
import type { HfCheckpoint, StoredTensor } from "../tensor/index.ts";
import type { QuantizationOptions } from "./quantization-options.ts";

/**
 * TensorRT-LLM's way to convert GPTQ and AWQ: `--weight_only_precision int4_gptq`, with codes in the model's own files or in
 * `--quant_ckpt_path`, and no word of it in config.json. What that file has takes the place of the model's tensors; the
 * config then says what the options say. Errors: CKP001–CKP006 for the file.
 */
export async function withPackedFile(
  source: HfCheckpoint,
  options: QuantizationOptions | undefined,
): Promise<HfCheckpoint> {
  if (!options?.use_weight_only || !/gptq|awq/.test(options.weight_only_precision)) return source;
  const file = options.quant_ckpt_path;
  const pool = new FilePool();
  try {
    const packed = file === undefined ? new Map<string, StoredTensor>() : (await openSafetensors(pool, file)).tensors;
    const tensors = joined(source.tensors, packed);
    const known = (source.config.quantization_config ?? null) !== null;
    const told = [...tensors.keys()].some(name => name.endsWith(".qweight"));
    return {
      ...source,
      tensors,
      config: known || !told ? source.config : { ...source.config, quantization_config: configOf(options) },
      weightFiles: [...new Set([...source.weightFiles, ...(file === undefined ? [] : [file])])],
      changed: async () => [...(await source.changed()), ...(await pool.changed())],
      close: async () => {
        await source.close();
        await pool.close();
      },
    };
  } catch (error) {
    await pool.close();
    await source.close();
    throw error;
  }
}

/** A layer's codes replace its float weight, which would otherwise be left over. */
function joined(
  own: ReadonlyMap<string, StoredTensor>,
  packed: ReadonlyMap<string, StoredTensor>,
): ReadonlyMap<string, StoredTensor> {
  const all = new Map([...own, ...packed]);
  for (const name of packed.keys()) if (name.endsWith(".qweight")) all.delete(name.replace(/qweight$/, "weight"));
  return all;
}

function configOf({ weight_only_precision, group_size }: QuantizationOptions): Readonly<Record<string, unknown>> {
  const group = group_size ?? 128;
  if (weight_only_precision === "int4_awq") return { quant_method: "awq", bits: 4, group_size: group, version: "gemm" };
  return { quant_method: "gptq", bits: 4, group_size: group };
}

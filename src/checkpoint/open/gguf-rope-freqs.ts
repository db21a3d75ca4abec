import { fail } from "../../diagnostics/index.ts";
import type { Gguf } from "../../formats/gguf.ts";

export const ROPE_FREQS = "rope_freqs.weight";

/** `rope_scaling` of config.json. */
export type RopeScaling = Readonly<Record<string, string | number>>;

/** What every LLaMA 3.1 to 3.3 was trained with; only the factor differs (8, or 32 in the small ones). */
const LLAMA3 = { low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };

/**
 * llama.cpp keeps LLaMA 3's scaling as a tensor: what each rotary frequency is divided by. The factor is the largest of
 * them; the whole tensor must then follow from LLaMA 3's rule, or it is another model's and refused (CKP018).
 */
export async function llama3Scaling(gguf: Gguf, headDim: number, theta: number): Promise<RopeScaling | undefined> {
  const stored = gguf.tensors.get(ROPE_FREQS);
  if (stored === undefined) return undefined;
  if (stored.dtype === "float32" && stored.shape.length === 1 && stored.shape[0] === headDim / 2) {
    const bytes = await stored.readRows(0, headDim / 2);
    const divisors = Array.from(new Float32Array(bytes.buffer, 0, headDim / 2));
    const factor = Math.max(...divisors);
    const expected = divisors.map((_, i) => divisorOf(theta ** ((2 * i) / headDim), factor));
    if (divisors.every((value, i) => Math.abs(value / (expected[i] as number) - 1) < 1e-4)) {
      return { rope_type: "llama3", factor, ...LLAMA3 };
    }
  }
  fail({
    code: "CKP018",
    what: `${ROPE_FREQS} does not follow LLaMA 3's rule for rotary frequencies`,
    at: stored.at,
    why: "positions would get other angles than in training",
    fix: "convert the original Hugging Face checkpoint",
  });
}

/** High frequencies stay, low ones are divided by `factor`, those between are interpolated. `period` is 1 / frequency. */
function divisorOf(period: number, factor: number): number {
  const wavelength = 2 * Math.PI * period;
  const { low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: trained } = LLAMA3;
  if (wavelength < trained / high) return 1;
  if (wavelength > trained / low) return factor;
  const smooth = (trained / wavelength - low) / (high - low);
  return 1 / ((1 - smooth) / factor + smooth);
}

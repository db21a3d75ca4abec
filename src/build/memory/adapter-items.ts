import { DTYPES, loraSizes } from "../../tensor/index.ts";
import type { MemoryInput, MemoryItem } from "./types.ts";

/** Adapters as inputs, as many and as high as the profiles allow, and "none" beside them; a rank has its share of each matrix. */
export function adapterItems({ lora, computeDtype, tpSize, ppSize }: MemoryInput): MemoryItem[] {
  if (lora === undefined) return [];
  const widths = lora.modules
    .filter(({ name }) => lora.target_modules.includes(name))
    .map(module => loraSizes(module, tpSize))
    .reduce((sum, sizes) => sum + sizes.in + sizes.out, 0);
  const factors = [
    lora.layers / ppSize,
    lora.max_loras + 1,
    lora.max_lora_rank,
    widths,
    DTYPES[computeDtype].bits / 8,
  ] as const;
  const [layers, adapters, rank, width, bytes] = factors;
  return [
    {
      what: "adapters",
      bytes: factors.reduce((product, factor) => product * factor, 1),
      formula: `layers ${layers} × adapters ${adapters} × rank ${rank} × (in + out) ${width} × ${bytes} B`,
    },
  ];
}

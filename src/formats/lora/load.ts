import type { Problem } from "../../diagnostics/index.ts";
import type { FilePool } from "../file.ts";
import { type Adapter, openAdapter } from "./adapter.ts";
import { type FittedAdapter, fitAdapter, type LoraTable } from "./fit.ts";

/** What an engine takes; absent limits do not hold. */
export interface AdapterLimits {
  readonly targets?: readonly string[] | undefined;
  readonly maxRank: number;
}

export interface LoadedAdapter extends Adapter {
  readonly pairs: FittedAdapter["pairs"];
  /** Its highest rank. */
  readonly rank: number;
}

/** An adapter that fits a model's table and an engine's limits, or all that is wrong with it. Errors of the files are thrown. */
export async function loadAdapter(
  pool: FilePool,
  dir: string,
  table: LoraTable,
  { targets, maxRank }: AdapterLimits,
): Promise<{ readonly adapter: LoadedAdapter; readonly problems: readonly Problem[] }> {
  const adapter = await openAdapter(pool, dir);
  const { pairs, problems } = fitAdapter(adapter, table);
  const rank = pairs.reduce((most, pair) => Math.max(most, pair.rank), 0);
  const missing = targets === undefined ? [] : namesOf(pairs).filter(name => !targets.includes(name));
  return {
    adapter: { ...adapter, pairs, rank },
    problems: [
      ...problems,
      ...(adapter.whole.size > 0 ? [wholeTensors(adapter)] : []),
      ...(rank > maxRank ? [rankTooHigh(adapter, rank, maxRank)] : []),
      ...(missing.length > 0 ? [notTargeted(adapter, missing, targets ?? [])] : []),
    ],
  };
}

/** TensorRT-LLM's names of the modules that an adapter changes. */
export function namesOf(pairs: FittedAdapter["pairs"]): readonly string[] {
  return [...new Set(pairs.map(({ module }) => module.name))];
}

function rankTooHigh({ dir }: Adapter, rank: number, most: number): Problem {
  return {
    code: "LRA008",
    what: `the adapter has rank ${rank}; the engine takes up to ${most}`,
    at: dir,
    why: "max_lora_rank is the largest size of the adapters' inputs in every profile",
    fix: `mmtrt build --max_lora_rank ${rank} or more`,
  };
}

function notTargeted({ dir }: Adapter, missing: readonly string[], targets: readonly string[]): Problem {
  return {
    code: "LRA009",
    what: `the adapter changes ${missing.join(", ")}; the engine has inputs for ${targets.join(", ")}`,
    at: dir,
    why: "without its inputs a part of the adapter would be left out",
    fix: `mmtrt build --lora_target_modules ${[...targets, ...missing].join(" ")}, or without --lora_target_modules`,
  };
}

function wholeTensors({ dir, whole, config }: Adapter): Problem {
  const names = [...whole.keys()];
  const shown = names.slice(0, 4).join(", ") + (names.length > 4 ? ` and ${names.length - 4} more` : "");
  const why =
    config.bias !== "none"
      ? `bias is "${config.bias}": the base model's own biases were trained, and the items of a batch share them`
      : "tables that were trained whole (modules_to_save) are the base model's, and the items of a batch share them";
  return {
    code: "LRA013",
    what: `the adapter brings whole tensors of the base model: ${shown}`,
    at: dir,
    why,
    fix: "mmtrt lora merge MODEL_DIR ADAPTER_DIR --output_dir DIR, and convert the merged model",
  };
}

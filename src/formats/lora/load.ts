import type { Problem } from "../../diagnostics/index.ts";
import type { StoredTensor } from "../../tensor/index.ts";
import type { FilePool } from "../file.ts";
import { type Adapter, openAdapter } from "./adapter.ts";
import { type FittedAdapter, fitAdapter, type LoraTable } from "./fit.ts";
import { sortWhole, type TableName, tableOf } from "./tables.ts";

/** What an engine takes; absent limits do not hold. */
export interface AdapterLimits {
  readonly targets?: readonly string[] | undefined;
  readonly maxRank: number;
}

export interface LoadedAdapter extends Adapter {
  readonly pairs: FittedAdapter["pairs"];
  /** Its highest rank. */
  readonly rank: number;
  /** Word tables of its own, which only a build can put in the place of the base model's. */
  readonly tables: ReadonlyMap<TableName, StoredTensor>;
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
  const { tables, others } = sortWhole(adapter);
  const unsaved = adapter.config.modulesToSave.filter(name => {
    const table = tableOf(`${name}.weight`);
    return table !== undefined && !tables.has(table);
  });
  return {
    adapter: { ...adapter, pairs, rank, tables },
    problems: [
      ...problems,
      ...(others.length > 0 ? [wholeTensors(adapter, others)] : []),
      ...(unsaved.length > 0 ? [notSaved(adapter, unsaved)] : []),
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

function wholeTensors({ dir, config }: Adapter, names: readonly string[]): Problem {
  const shown = names.slice(0, 4).join(", ") + (names.length > 4 ? ` and ${names.length - 4} more` : "");
  const why =
    config.bias !== "none"
      ? `bias is "${config.bias}": the base model's own biases were trained, and the items of a batch share them`
      : "of what was trained whole (modules_to_save) a build takes lm_head and embed_tokens, once each; the items of a batch share all other tensors";
  return {
    code: "LRA013",
    what: `the adapter brings whole tensors of the base model: ${shown}`,
    at: dir,
    why,
    fix: "mmtrt lora merge MODEL_DIR ADAPTER_DIR --output_dir DIR, and convert the merged model",
  };
}

function notSaved({ dir, weights, config }: Adapter, names: readonly string[]): Problem {
  return {
    code: "LRA006",
    what: `${weights} has no tensor of ${names.join(", ")}`,
    at: `${dir}/${weights}`,
    why: `modules_to_save of ${config.file} names ${names.length > 1 ? "them" : "it"}, so the adapter was trained with a table that the file lacks`,
    fix: "save the adapter again with PEFT, or download its file again",
  };
}

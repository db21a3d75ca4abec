import { basename } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { ConvertedCheckpoint } from "../checkpoint/read.ts";
import { shard } from "../checkpoint/shard.ts";
import { fail, type Problem } from "../diagnostics/index.ts";
import { FilePool } from "../formats/file.ts";
import { openAdapter } from "../formats/lora/adapter.ts";
import type { LoadedAdapter } from "../formats/lora/load.ts";
import { type EngineTable, sortWhole, type TableName, tableHashes } from "../formats/lora/tables.ts";
import { encodeHeader, inOrder, writeSafetensors } from "../formats/safetensors.ts";
import type { WeightRule } from "../models/architecture.ts";
import {
  CASTABLE,
  cast,
  fromStored,
  linearForm,
  named,
  type StoredTensor,
  sameShape,
  showShape,
  type TensorRecipe,
} from "../tensor/index.ts";
import type { EnginePlan, PlannedTables } from "./plan.ts";
import type { Adjustment } from "./settings.ts";

type Tables = ReadonlyMap<TableName, StoredTensor>;

/** Word tables of an adapter that go into the graphs in the place of the checkpoint's. */
export interface AdapterTables {
  /** Absolute. */
  readonly adapter: string;
  readonly tables: Tables;
  readonly hashes: readonly EngineTable[];
}

/** The checkpoint's names of them. */
const WEIGHTS: Readonly<Record<TableName, string>> = {
  embed_tokens: "transformer.vocab_embedding.weight",
  lm_head: "lm_head.weight",
};

const MERGE = "mmtrt lora merge MODEL_DIR ADAPTER_DIR --output_dir DIR, and convert the merged model";

/** Why the tables that adapters bring cannot be built in: LRA018. None without tables. */
export function tableProblems(
  checkpoint: ConvertedCheckpoint,
  adapters: readonly LoadedAdapter[],
  at: string,
): readonly Problem[] {
  const bringing = adapters.filter(({ tables }) => tables.size > 0);
  const several = bringing.length > 1 ? [severalBring(bringing, at)] : [];
  return [
    ...several,
    ...bringing.flatMap(adapter => [
      ...[...adapter.tables].flatMap(([name, table]) => misfit(checkpoint, adapter, name, table) ?? []),
      ...tiedApart(checkpoint, adapter),
    ]),
  ];
}

/** What a build says of tables that serve everyone. */
export function tableNotes(tables: AdapterTables | undefined): readonly Adjustment[] {
  if (tables === undefined) return [];
  const names = tables.hashes.map(({ name }) => name).join(" and ");
  return [
    {
      option: names,
      from: "the checkpoint's",
      to: `${basename(tables.adapter)}'s`,
      why: "the adapter brings them whole, and the items of a batch share them: every item has them, those of task −1 and of other adapters too",
    },
  ];
}

/** One rank's file of tables, laid out and not written; undefined for a pipeline stage that has none of them. */
export function planTables(
  checkpoint: ConvertedCheckpoint,
  { adapter, tables, hashes }: AdapterTables,
  rank: number,
  file: string,
): PlannedTables | undefined {
  const recipes = recipesOf(checkpoint, tables, rank);
  if (recipes.length === 0) return undefined;
  const { entries } = encodeHeader(inOrder(recipes));
  const name = file.slice(file.indexOf("/") + 1);
  return {
    file,
    adapter,
    hashes,
    locations: [...entries.values()].map(({ name: tensor, dtype, shape, offset }) => ({
      name: tensor,
      dtype,
      shape,
      offset,
      file: name,
    })),
  };
}

/** Writes what `planTables` laid out. Errors: BLD005 when the adapter is another one by now, those of its files, CKP009. */
export async function writeTables(
  checkpoint: ConvertedCheckpoint,
  { tables: planned, rank, name }: EnginePlan,
  target: string,
  signal: AbortSignal,
): Promise<void> {
  if (planned === undefined) throw new Error(`${name} has no tables of its own`);
  const pool = new FilePool();
  try {
    const { tables } = sortWhole(await openAdapter(pool, planned.adapter));
    if (!isDeepStrictEqual(await tableHashes(tables), planned.hashes)) changedSincePlan(planned);
    await writeSafetensors(target, recipesOf(checkpoint, tables, rank), { signal });
  } finally {
    await pool.close();
  }
}

/** A rank's share of the tables, in the checkpoint's dtype and split as convert splits them. */
function recipesOf(checkpoint: ConvertedCheckpoint, tables: Tables, rank: number): readonly TensorRecipe[] {
  const { spec, parallel, manifest } = checkpoint;
  const { tpSize, ppSize } = parallel;
  const stage = Math.floor(rank / tpSize);
  return [...tables].flatMap(([name, table]) => {
    const rule = ruleOf(checkpoint, name);
    if (rule === undefined || stage !== (rule.stage === "first" ? 0 : ppSize - 1)) return [];
    const whole = cast(fromStored(table), manifest.options.dtype);
    return [named(rule.to, shard(rule, [whole], rank % tpSize, spec.language, parallel))];
  });
}

function ruleOf({ architecture, spec }: ConvertedCheckpoint, name: TableName): WeightRule | undefined {
  return architecture.weights(spec).language.find(({ to }) => to === WEIGHTS[name]);
}

function misfit(
  checkpoint: ConvertedCheckpoint,
  adapter: LoadedAdapter,
  name: TableName,
  table: StoredTensor,
): Problem | undefined {
  const rule = ruleOf(checkpoint, name);
  const [source, ...others] = rule?.from ?? [];
  const at = `${table.name} in ${table.at}`;
  if (rule === undefined || source === undefined || others.length > 0 || rule.times || rule.transpose || rule.skipRows)
    return {
      code: "LRA018",
      what: `${basename(adapter.dir)} brings ${name}, which the checkpoint of a ${checkpoint.spec.architecture} does not have as it is`,
      at,
      why: "the checkpoint holds a product of the table and another matrix, which is not stored",
      fix: MERGE,
    };
  if (!sameShape(table.shape, source.shape) || !CASTABLE.includes(table.dtype))
    return {
      code: "LRA018",
      what: `${table.name} is ${table.dtype} ${showShape(table.shape)}; the model's ${name} is ${showShape(source.shape)}`,
      at,
      why: "the sizes of the vocabulary are in the graph, the tokenizer and config.json; codes of a quantized table have scales that PEFT does not name",
      fix: "resize the base model with transformers (resize_token_embeddings), save it, mmtrt lora merge the adapter into it, and convert the merged model",
    };
  if (name === "lm_head" && linearForm(checkpoint.quantization, "lm_head").kind !== "plain")
    return {
      code: "LRA018",
      what: `${basename(adapter.dir)} brings lm_head, and the checkpoint's is quantized`,
      at,
      why: "a build copies tables and quantizes nothing; the graph multiplies by the codes of the checkpoint's lm_head",
      fix: `convert without --quantize_lm_head, or ${MERGE}`,
    };
  return undefined;
}

/** Of a tied model both tables are one, and an adapter may say what becomes of each. */
function tiedApart({ spec, parallel }: ConvertedCheckpoint, { dir, tables }: LoadedAdapter): readonly Problem[] {
  const names = [...tables.keys()].join(" and ");
  if (parallel.shareEmbedding)
    return [
      {
        code: "LRA018",
        what: `${basename(dir)} brings ${names}, and the checkpoint has one table for embed_tokens and lm_head`,
        at: dir,
        why: "the graph reads the shared table for both, and PEFT trains each by itself",
        fix: "convert without --use_embedding_sharing",
      },
    ];
  if (!spec.language.tiedEmbeddings || tables.size === 2) return [];
  return [
    {
      code: "LRA018",
      what: `${basename(dir)} brings ${names} alone, and the model ties embed_tokens and lm_head`,
      at: dir,
      why: "PEFT leaves the other table as it was or replaces both, by its version and ensure_weight_tying; which of the two was trained the file does not say",
      fix: "save the adapter with both (modules_to_save: embed_tokens, lm_head), or merge it with PEFT into a model that ties nothing and convert that",
    },
  ];
}

function severalBring(adapters: readonly LoadedAdapter[], at: string): Problem {
  return {
    code: "LRA018",
    what: `${adapters.length} adapters bring word tables of their own: ${adapters.map(({ dir, tables }) => `${basename(dir)} (${[...tables.keys()].join(", ")})`).join(", ")}`,
    at,
    why: "the items of a batch share these tables, so one adapter alone can bring them",
    fix: `build an engine for each, or ${MERGE}`,
  };
}

function changedSincePlan({ adapter, hashes }: PlannedTables): never {
  fail({
    code: "BLD005",
    what: `${hashes.map(({ name }) => name).join(" and ")} of ${adapter} are not the planned tables any more`,
    at: adapter,
    why: "the adapter was written again between planning and building",
    fix: "run the build again",
  });
}

import { join } from "node:path";
import { type Problem, throwIfAny } from "../../diagnostics/index.ts";
import type { LlmEngineConfig } from "../../formats/engine-config.ts";
import { FilePool } from "../../formats/file.ts";
import { fileHash, type LoraEngineConfig } from "../../formats/lora/engine.ts";
import { type LoadedAdapter, loadAdapter } from "../../formats/lora/load.ts";
import { type Dtype, LORA_RANK_STEP, LORA_TASK_IDS, loraInput } from "../../tensor/index.ts";
import type { Attended } from "../calls.ts";
import { type Feeds, fromFloat32, type Tensor, type TensorMaker } from "../ort.ts";
import { stackedA, stackedB } from "./stack.ts";
import { otherTables } from "./tables.ts";

/** Adapters for the whole life of a session, as the graph's inputs; a batch chooses among them row by row. */
export interface LoraBank {
  /** Of the adapters by task uid: names of their directories. */
  readonly names: readonly string[];
  /** What a batch feeds whose row i has adapter `uids[i]`, −1 being none. */
  rows(uids: readonly number[]): Attended;
}

/** Task uid of an item that the base model answers. */
export const NO_ADAPTER = -1;

/** Where adapters come from: those of the engine directory, or others in their place. */
export interface AdapterSource {
  readonly engineDir: string;
  /** Of the model's directory; undefined takes the engine's own. */
  readonly dirs: readonly string[] | undefined;
  readonly at: string;
}

/**
 * Reads the adapters into the graph's inputs. Nothing is built again: whatever fits the engine's modules, rank and number
 * is taken. Undefined for an engine without adapter inputs, unless adapters are asked for.
 * Errors: LRA001–LRA013, LRA016, LRA019, CKP… for the files.
 */
export async function openLoraBank(
  graph: TensorMaker,
  config: LlmEngineConfig,
  source: AdapterSource,
): Promise<LoraBank | undefined> {
  const { lora } = config;
  const { dirs, at } = source;
  if (lora === undefined) {
    if (dirs !== undefined) throwIfAny([builtWithout(at)]);
    return undefined;
  }
  throwIfAny([
    ...(dirs === undefined ? await changedAdapters(source.engineDir, lora) : []),
    ...tooMany(lora, dirs, at),
  ]);
  const from = dirs ?? lora.adapters.map(({ dir }) => join(source.engineDir, dir));
  const pool = new FilePool();
  try {
    const adapters = await loadAll(pool, from, lora);
    // Of those that were built in the files are hashed already.
    if (dirs !== undefined) throwIfAny(await otherTables(adapters, lora.tables ?? [], at));
    const names = dirs === undefined ? lora.adapters.map(({ name }) => name) : adapters.map(({ name }) => name);
    return bankOf(graph, names, await inputsOf(graph, config, lora, adapters));
  } finally {
    await pool.close();
  }
}

async function loadAll(
  pool: FilePool,
  dirs: readonly string[],
  lora: LoraEngineConfig,
): Promise<readonly LoadedAdapter[]> {
  const problems: Problem[] = [];
  const adapters: LoadedAdapter[] = [];
  for (const dir of dirs) {
    const limits = { targets: lora.target_modules, maxRank: lora.max_lora_rank };
    const found = await loadAdapter(pool, dir, lora, limits);
    problems.push(...found.problems);
    adapters.push(found.adapter);
  }
  throwIfAny(problems);
  return adapters;
}

/** lora_A_… and lora_B_… of every targeted module; adapter 0 is "none". */
async function inputsOf(
  graph: TensorMaker,
  config: LlmEngineConfig,
  lora: LoraEngineConfig,
  adapters: readonly LoadedAdapter[],
): Promise<Feeds> {
  const rank = paddedRank(Math.max(1, ...adapters.map(adapter => adapter.rank)), lora.max_lora_rank);
  const tp = tensorParallel(config);
  const dtypes = new Map<string, Dtype>(config.io.map(({ name, dtype }) => [name, dtype]));
  const feeds: Record<string, Tensor> = {};
  for (const module of lora.modules.filter(({ name }) => lora.target_modules.includes(name))) {
    for (let layer = 0; layer < lora.layers; layer++) {
      const pairs = adapters.map(adapter =>
        adapter.pairs.find(pair => pair.module.name === module.name && pair.layer === layer),
      );
      const [a, b] = [loraInput("A", layer, module.name), loraInput("B", layer, module.name)];
      for (let r = 0; r < tp; r++) {
        const place = { module, rank, tp, r };
        for (const [name, stack] of [
          [a, await stackedA(pairs, place)],
          [b, await stackedB(pairs, place)],
        ] as const) {
          const dtype = dtypes.get(name);
          if (dtype === undefined) throw new Error(`the engine's config has no input ${name}`);
          feeds[tp === 1 ? name : `${name}@${r}`] = fromFloat32(graph, dtype, stack.values, stack.shape);
        }
      }
    }
  }
  return feeds;
}

/** The plugin's kernel reads 8 of the rank at once; zeros fill it up, as they do between adapters of unlike ranks. */
function paddedRank(rank: number, most: number): number {
  return Math.min(Math.ceil(rank / LORA_RANK_STEP) * LORA_RANK_STEP, most);
}

function tensorParallel({ pretrained_config }: LlmEngineConfig): number {
  const { tp_size = 1 } = (pretrained_config.mapping ?? {}) as { readonly tp_size?: number };
  return tp_size;
}

function bankOf(graph: TensorMaker, names: readonly string[], inputs: Feeds): LoraBank {
  const rows = (uids: readonly number[]): Attended => {
    let own = uids;
    return {
      feeds: () => ({
        ...inputs,
        [LORA_TASK_IDS]: graph.tensor(
          "int32",
          Int32Array.from(own, uid => uid + 1),
          [own.length],
        ),
      }),
      select(rows) {
        own = rows.map(row => own[row] as number);
      },
      // The same words have other keys and values under each adapter.
      row: index => ({ attended: rows([own[index] as number]), key: `lora ${own[index]}` }),
    };
  };
  return { names, rows };
}

/** What `rows` prompts of the base model feed to a graph that takes adapters; undefined for one that does not. */
export async function withoutAdapters(
  graph: TensorMaker,
  config: LlmEngineConfig,
  rows: number,
): Promise<Attended | undefined> {
  if (config.lora === undefined) return undefined;
  const inputs = await inputsOf(graph, config, config.lora, []);
  return bankOf(graph, [], inputs).rows(new Array<number>(rows).fill(NO_ADAPTER));
}

async function changedAdapters(engineDir: string, lora: LoraEngineConfig): Promise<readonly Problem[]> {
  const problems: Problem[] = [];
  for (const { dir, files } of lora.adapters)
    for (const { name, sha256 } of files) {
      const file = join(engineDir, dir, name);
      const hash = await fileHash(file).catch(() => undefined);
      if (hash !== sha256) problems.push(changed(file, hash, sha256));
    }
  return problems;
}

function changed(file: string, hash: string | undefined, expected: string): Problem {
  return {
    code: "LRA016",
    what:
      hash === undefined
        ? `${file} cannot be read`
        : `${file} has the SHA-256 ${hash.slice(0, 12)}…, the engine's config says ${expected.slice(0, 12)}…`,
    at: file,
    why: "the adapter of a task uid is the one that was built in, so that an answer can be made again",
    fix: "build again, or give the changed adapter with --lora_dir, which needs no build",
  };
}

function builtWithout(at: string): Problem {
  return {
    code: "LRA012",
    what: "adapters are asked for, and the engine was built without",
    at,
    why: "adapters are inputs of the graph, which are there when it was built with them",
    fix: "mmtrt build --lora_dir DIR, or --lora_plugin auto to give adapters at run time alone",
  };
}

function tooMany({ max_loras }: LoraEngineConfig, dirs: readonly string[] | undefined, at: string): readonly Problem[] {
  if (dirs === undefined || dirs.length <= max_loras) return [];
  return [
    {
      code: "LRA010",
      what: `${dirs.length} adapters are given; the engine takes ${max_loras}`,
      at,
      why: "all loaded adapters lie in the engine's inputs one after the other",
      fix: `mmtrt build --max_loras ${dirs.length}, or give fewer at once`,
    },
  ];
}

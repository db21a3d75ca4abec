import { join, resolve } from "node:path";
import type { ConvertedCheckpoint } from "../checkpoint/read.ts";
import { MmtrtError, type Problem } from "../diagnostics/index.ts";
import type { LlmEngineConfig } from "../formats/engine-config.ts";
import { FilePool } from "../formats/file.ts";
import { ADAPTER_CONFIG } from "../formats/lora/adapter.ts";
import { fileHash, LORA_DIR, type LoraEngineConfig } from "../formats/lora/engine.ts";
import { type LoadedAdapter, loadAdapter, namesOf } from "../formats/lora/load.ts";
import { tableHashes } from "../formats/lora/tables.ts";
import { loraModules } from "../models/parts/lora-modules.ts";
import type { BuildOptions } from "../options/tables/build.ts";
import { LORA_MODULES, type LoraModule } from "../tensor/index.ts";
import { type AdapterTables, tableProblems } from "./lora-tables.ts";

/** TensorRT-LLM's default of adapters in memory. */
const USUAL_LORAS = 4;

/** What the graphs have adapter inputs for, and where the adapters come from; null for a build without adapters. */
export interface PlannedLora {
  readonly config: LoraEngineConfig;
  /** Absolute, in the order of `config.adapters`. */
  readonly sources: readonly string[];
  /** Word tables that one of them brings. */
  readonly tables?: AdapterTables | undefined;
}

interface Asked {
  readonly origin: (key: string) => string;
  readonly given: (key: string) => boolean;
}

/** Reads the headers of the adapters and hashes them. Problems: LRA…, BLD030, and what their files have wrong. */
export async function planLora(
  checkpoint: ConvertedCheckpoint,
  options: BuildOptions,
  { origin, given }: Asked,
): Promise<{ readonly lora: PlannedLora | null; readonly problems: readonly Problem[] }> {
  const dirs = options.lora_dir ?? [];
  const wanted = dirs.length > 0 || options.lora_plugin !== "disable";
  if (!wanted) return { lora: null, problems: withoutAdapters(given, origin) };
  const refused = unsupported(checkpoint, options, origin);
  if (refused.length > 0) return { lora: null, problems: refused };
  const { spec, architecture } = checkpoint;
  const table = {
    modules: loraModules(spec.language, architecture.weights(spec).language),
    layers: spec.language.layers,
  };
  const asked = options.lora_target_modules;
  const problems: Problem[] = [
    ...targetProblems(asked, table.modules, origin),
    ...countProblems(options, dirs, origin),
  ];
  const pool = new FilePool();
  try {
    const adapters: LoadedAdapter[] = [];
    for (const dir of dirs) {
      try {
        const found = await loadAdapter(pool, dir, table, { targets: asked, maxRank: options.max_lora_rank });
        problems.push(...found.problems);
        adapters.push(found.adapter);
      } catch (error) {
        if (!(error instanceof MmtrtError)) throw error;
        problems.push(...error.problems);
      }
    }
    problems.push(...tableProblems(checkpoint, adapters, origin("lora_dir")));
    const tables = problems.length > 0 ? undefined : await tablesOf(adapters);
    const targets =
      asked ??
      (dirs.length > 0 ? adapters.flatMap(({ pairs }) => namesOf(pairs)) : table.modules.map(({ name }) => name));
    const config: LoraEngineConfig = {
      max_lora_rank: options.max_lora_rank,
      max_loras: options.max_loras ?? Math.max(USUAL_LORAS, dirs.length),
      target_modules: LORA_MODULES.filter(name => targets.includes(name)),
      modules: table.modules,
      layers: table.layers,
      adapters: problems.length > 0 ? [] : await Promise.all(adapters.map(kept)),
      ...(tables && { tables: tables.hashes }),
    };
    return { lora: { config, sources: adapters.map(({ dir }) => resolve(dir)), tables }, problems };
  } finally {
    await pool.close();
  }
}

/** The config with what the graph takes, and TensorRT-LLM's own keys for it. */
export function withAdapters(
  config: LlmEngineConfig | null,
  lora: PlannedLora | null,
  { lora_plugin, lora_ckpt_source }: BuildOptions,
): LlmEngineConfig | null {
  if (config === null || lora === null) return config;
  const { max_lora_rank, max_loras, target_modules, modules, adapters } = lora.config;
  const { build_config } = config;
  return {
    ...config,
    build_config: {
      ...build_config,
      lora_config: {
        lora_dir: adapters.map(({ dir }) => dir),
        lora_ckpt_source,
        max_lora_rank,
        max_loras,
        lora_target_modules: target_modules,
        trtllm_modules_to_hf_modules: Object.fromEntries(
          modules.map(({ name, hf }) => [name, hf.slice(hf.lastIndexOf(".") + 1)]),
        ),
      },
      plugin_config: { ...build_config.plugin_config, lora_plugin: lora_plugin === "disable" ? null : lora_plugin },
    },
    lora: lora.config,
  };
}

/** Options of adapters as the plan shows them; none for a build without adapters, whose directory stays what it was. */
export function loraSettings(
  lora: PlannedLora | null,
  { lora_plugin }: BuildOptions,
): Readonly<Record<string, unknown>> {
  if (lora === null) return {};
  const { max_lora_rank, max_loras, target_modules, adapters } = lora.config;
  return {
    lora_plugin,
    lora_dir: adapters.map(({ name }) => name),
    lora_target_modules: target_modules,
    max_lora_rank,
    max_loras,
  };
}

/** Of the one adapter that brings some. */
async function tablesOf(adapters: readonly LoadedAdapter[]): Promise<AdapterTables | undefined> {
  const adapter = adapters.find(({ tables }) => tables.size > 0);
  if (adapter === undefined) return undefined;
  const { dir, tables } = adapter;
  return { adapter: resolve(dir), tables, hashes: await tableHashes(tables) };
}

async function kept(
  { dir, name, weights }: LoadedAdapter,
  index: number,
): Promise<LoraEngineConfig["adapters"][number]> {
  const files = await Promise.all(
    [ADAPTER_CONFIG, weights].map(async file => ({ name: file, sha256: await fileHash(join(dir, file)) })),
  );
  return { dir: `${LORA_DIR}/${index}`, name, files };
}

function unsupported(
  { spec, quantization, manifest }: ConvertedCheckpoint,
  options: BuildOptions,
  origin: Asked["origin"],
): readonly Problem[] {
  const at = origin((options.lora_dir ?? []).length > 0 ? "lora_dir" : "lora_plugin");
  const problems: Problem[] = [];
  const merged = "mmtrt lora merge MODEL_DIR ADAPTER_DIR --output_dir DIR, and convert the merged model";
  if (spec.encoderDecoder !== undefined)
    problems.push({
      code: "LRA014",
      what: `adapters are asked for and ${spec.architecture} is an encoder-decoder`,
      at,
      why: "keys and values of its cross-attention come from a graph of their own that runs once a request, and this version gives adapters to decoders alone",
      fix: merged,
    });
  const algo = quantization?.quantAlgo ?? null;
  if (algo?.startsWith("W8A8_SQ"))
    problems.push({
      code: "LRA014",
      what: `adapters are asked for and the checkpoint is quantized with SmoothQuant (${algo})`,
      at,
      why: "smoothing divided the inputs of its layers, and moved the factor into the base weights; an adapter would see the divided inputs",
      fix: "convert without --smoothquant (weight-only, AWQ, GPTQ and FP8 take adapters), or merge the adapter before converting",
    });
  const dtype = options.compute_dtype === "auto" ? manifest.options.dtype : options.compute_dtype;
  const word = options.lora_plugin;
  if (word !== "auto" && word !== "disable" && word !== dtype)
    problems.push({
      code: "BLD030",
      what: `lora_plugin ${word} is not the model's dtype ${dtype}`,
      at: origin("lora_plugin"),
      why: "adapters are added to the model's own activations, which are in the checkpoint's dtype or compute_dtype",
      fix: `--lora_plugin auto (or ${dtype})`,
    });
  if (options.lora_ckpt_source === "nemo")
    problems.push({
      code: "LRA015",
      what: "lora_ckpt_source is nemo; expected hf",
      at: origin("lora_ckpt_source"),
      why: ".nemo archives hold q, k and v as one adapter in a layout of NeMo's own, which this version does not read",
      fix: "convert the adapter to PEFT's form with NeMo's scripts, and leave out --lora_ckpt_source",
    });
  return problems;
}

/** Options that would be left out in silence. */
function withoutAdapters(given: Asked["given"], origin: Asked["origin"]): readonly Problem[] {
  const keys = ["lora_target_modules", "max_lora_rank", "max_loras", "lora_ckpt_source"].filter(given);
  return keys.map(key => ({
    code: "LRA015",
    what: `${key} is given without lora_dir or lora_plugin`,
    at: origin(key),
    why: "the graph has no adapter inputs then, and the option would do nothing",
    fix: `--lora_plugin auto (or --lora_dir DIR), or leave out --${key}`,
  }));
}

function targetProblems(
  asked: readonly string[] | undefined,
  modules: readonly LoraModule[],
  origin: Asked["origin"],
): readonly Problem[] {
  const known = modules.map(({ name }) => name as string);
  const missing = (asked ?? []).filter(name => !known.includes(name));
  if (missing.length === 0) return [];
  return [
    {
      code: "LRA015",
      what: `lora_target_modules has ${missing.join(", ")}; the model has ${known.join(", ")}`,
      at: origin("lora_target_modules"),
      why: "q, k and v are adapted apart where Hugging Face keeps them apart, and together where it has one layer for them; only gated MLPs have mlp_gate",
      fix: `--lora_target_modules ${known.join(" ")}`,
    },
  ];
}

function countProblems(
  { max_loras }: BuildOptions,
  dirs: readonly string[],
  origin: Asked["origin"],
): readonly Problem[] {
  if (max_loras === undefined || max_loras >= dirs.length) return [];
  return [
    {
      code: "LRA010",
      what: `lora_dir has ${dirs.length} adapters; max_loras is ${max_loras}`,
      at: origin("max_loras"),
      why: "all loaded adapters lie in the engine's inputs one after the other",
      fix: `--max_loras ${dirs.length}`,
    },
  ];
}

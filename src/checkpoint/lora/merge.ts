import { basename, join } from "node:path";
import { MmtrtError, type Problem, throwIfAny } from "../../diagnostics/index.ts";
import { FilePool } from "../../formats/file.ts";
import { openAdapter } from "../../formats/lora/adapter.ts";
import { innerPath } from "../../formats/lora/fit.ts";
import { writeSafetensors } from "../../formats/safetensors.ts";
import { loraModules } from "../../models/parts/lora-modules.ts";
import { readModel } from "../../models/registry.ts";
import { byteLength, fromStored, type HfCheckpoint, type StoredTensor, type TensorRecipe } from "../../tensor/index.ts";
import { copyExtra, writeJson } from "../files.ts";
import { openHf } from "../open.ts";
import { OutputDir } from "../output-dir.ts";
import { type Change, changesOf } from "./changes.ts";
import { added, replaced } from "./recipes.ts";

export interface MergeRequest {
  readonly modelDir: string;
  readonly adapterDir: string;
  readonly outputDir: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

export interface MergeResult {
  readonly outputDir: string;
  /** Tensors that an adapter was added to, and those that were replaced whole. */
  readonly added: number;
  readonly replaced: number;
  readonly files: readonly string[];
  readonly bytes: number;
}

/**
 * Writes the model that PEFT's merge_and_unload gives, W + scaling · B·A in float32 and rounded once, file by file as the
 * model is stored; what the adapter does not change is copied. Errors: LRA001–LRA007, LRA017, CKP….
 */
export async function mergeLora(request: MergeRequest): Promise<MergeResult> {
  const pool = new FilePool();
  try {
    const adapter = await openAdapter(pool, request.adapterDir);
    const source = await openHf(request.modelDir);
    try {
      throwIfAny(unmergeable(source));
      const changes = changesOf(adapter, source, conv1dPaths(source));
      const unchanged = async (): Promise<void> => throwIfAny([...(await source.changed()), ...(await pool.changed())]);
      return await write(request, source, changes, unchanged);
    } finally {
      await source.close();
    }
  } finally {
    await pool.close();
  }
}

async function write(
  { outputDir, signal, onProgress }: MergeRequest,
  source: HfCheckpoint,
  changes: ReadonlyMap<string, Change>,
  unchanged: () => Promise<void>,
): Promise<MergeResult> {
  // Never resumed: a merge takes about as long as a copy.
  const output = await OutputDir.open(outputDir, `lora merge ${process.pid}`);
  if (output === "done") throw new Error("a merge has no fingerprint of its own");
  try {
    const shards = shardsOf(source);
    const sizes = [...source.tensors.values()].map(({ dtype, shape }) => byteLength(dtype, shape));
    const total = sizes.reduce((sum, size) => sum + size, 0);
    let done = 0;
    for (const [file, tensors] of shards) {
      const recipes = tensors.map(tensor => recipeOf(tensor, changes.get(tensor.name)));
      await writeSafetensors(join(output.stage, file), recipes, {
        metadata: { format: "pt" },
        ...(signal && { signal }),
        onProgress: bytes => {
          done += bytes;
          onProgress?.(done, total);
        },
      });
    }
    if (shards.size > 1) await writeJson(join(output.stage, "model.safetensors.index.json"), indexOf(shards, total));
    for (const name of new Set(["config.json", ...source.extraFiles]))
      await copyExtra(join(source.dir, name), join(output.stage, basename(name)));
    await unchanged();
    await output.publish();
    const kinds = [...changes.values()].map(({ kind }) => kind);
    const count = (kind: Change["kind"]): number => kinds.filter(one => one === kind).length;
    return {
      outputDir: output.final,
      added: count("add"),
      replaced: count("replace"),
      files: [...shards.keys()],
      bytes: total,
    };
  } catch (error) {
    await output.abandon(false);
    throw error;
  }
}

function recipeOf(tensor: StoredTensor, change: Change | undefined): TensorRecipe {
  if (change === undefined) return fromStored(tensor);
  return change.kind === "add" ? added(tensor, change) : replaced(tensor, change.by);
}

/** The tensors of each file, in their order; PyTorch's files become safetensors of the same number. */
function shardsOf(source: HfCheckpoint): ReadonlyMap<string, readonly StoredTensor[]> {
  const shards = new Map<string, StoredTensor[]>();
  for (const tensor of source.tensors.values()) {
    const path = tensor.at.slice(0, tensor.at.lastIndexOf(", byte "));
    const file = basename(path)
      .replace(/^pytorch_model/, "model")
      .replace(/\.(bin|pth?)$/, ".safetensors");
    const own = shards.get(file) ?? [];
    own.push(tensor);
    shards.set(file, own);
  }
  return shards;
}

function indexOf(shards: ReadonlyMap<string, readonly StoredTensor[]>, total: number): object {
  const entries = [...shards].flatMap(([file, tensors]) => tensors.map(({ name }) => [name, file] as const));
  return { metadata: { total_size: total }, weight_map: Object.fromEntries(entries) };
}

/** Inner paths of layers stored [in, out]; of a model that mmtrt does not know none, for transformers has Conv1D in GPT-2 alone. */
function conv1dPaths(source: HfCheckpoint): ReadonlySet<string> {
  try {
    const { architecture, spec } = readModel(source.config);
    const modules = loraModules(spec.language, architecture.weights(spec).language).filter(({ conv1d }) => conv1d);
    return new Set(
      modules.flatMap(({ hf }) =>
        Array.from({ length: spec.language.layers }, (_, layer) => innerPath(hf).replace("{l}", String(layer))),
      ),
    );
  } catch (error) {
    if (error instanceof MmtrtError) return new Set();
    throw error;
  }
}

function unmergeable({ format, dir, config }: HfCheckpoint): readonly Problem[] {
  const quantized = config.quantization_config !== undefined && config.quantization_config !== null;
  if ((format === "safetensors" || format === "torch") && !quantized) return [];
  return [
    {
      code: "LRA017",
      what: quantized
        ? `${dir} is quantized already`
        : `${dir} holds ${format} weights; expected safetensors or PyTorch files`,
      at: dir,
      why: "an adapter is added to plain weights; codes would have to be made anew from the sum",
      fix: "merge into the float model in Hugging Face's form, and quantize the result",
    },
  ];
}

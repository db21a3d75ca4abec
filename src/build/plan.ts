import type { Problem } from "../diagnostics/index.ts";
import type { WeightLocation } from "../emit/onnx.ts";
import type { TrtllmInput } from "../emit/trtllm-range.ts";
import type {
  Backend,
  EngineIo,
  EngineModel,
  EngineProfile,
  LlmEngineConfig,
  VisualEngineConfig,
} from "../formats/engine-config.ts";
import type { EngineTable } from "../formats/lora/tables.ts";
import type { PluginLibrary } from "../formats/plugin-library.ts";
import type { GraphOptions } from "../models/architecture.ts";
import type { EngineRequest } from "../toolchain/tensorrt/request.ts";
import type { BuilderAtHand } from "./find-builder.ts";
import type { Gpu } from "./gpus.ts";
import type { BuildMemory } from "./memory/builder.ts";
import type { ProcessMemory } from "./memory/process.ts";
import type { MemoryAccount } from "./memory/types.ts";
import type { Adjustment } from "./settings.ts";

/** One graph with its weights: what becomes `dir`/`stem`.onnx, .safetensors and, with TensorRT, .engine. */
export interface EnginePlan {
  /** `llm/rank0`, `visual`; of an encoder-decoder `encoder/rank0`, `decoder/rank0`, `decoder/cross_rank0`. */
  readonly name: string;
  /** llm: a decoder, alone or of a pair · cross: what gives a decoder the encoder's keys and values. */
  readonly kind: "llm" | "visual" | "encoder" | "cross";
  /** Global rank; 0 for the visual engine, which is the same on every GPU. */
  readonly rank: number;
  /** What the graph is built from again when the plan runs. */
  readonly options: GraphOptions;
  /** Relative to the engine directory. */
  readonly onnx: string;
  readonly weights: string;
  readonly engine: string | null;
  /** The checkpoint's file. */
  readonly source: string;
  /** What this rank has of an adapter's word tables in the place of the checkpoint's. */
  readonly tables?: PlannedTables;
  readonly graph: {
    readonly opset: number;
    readonly nodes: number;
    readonly initializers: number;
    readonly functions: readonly string[];
    /** Nodes that a plugin may take, by operation. */
    readonly plugins: Readonly<Record<string, number>>;
    /** Size of the .onnx file. */
    readonly onnx_bytes: number;
    readonly onnx_sha256: string;
    /** Of the whole file; a decoder's two graphs share one. */
    readonly weight_bytes: number;
    /** Weights that this graph reads, as stored, and in the dtype that it computes in. */
    readonly used_bytes: number;
    readonly computed_bytes: number;
  };
  readonly io: readonly EngineIo[];
  readonly profiles: readonly EngineProfile[];
  /** What a TensorRT builder is asked for; its paths are relative to the engine directory. */
  readonly request: EngineRequest | null;
}

/** A file of word tables beside the weights, and where they lie in it. */
export interface PlannedTables {
  /** Relative to the engine directory. */
  readonly file: string;
  /** The adapter's directory, absolute. */
  readonly adapter: string;
  /** Of the whole tables as the adapter has them. */
  readonly hashes: readonly EngineTable[];
  /** By the checkpoint's names. */
  readonly locations: readonly (WeightLocation & { readonly name: string })[];
}

/** tables: an adapter's word tables, cast and split · link: a hard link or copy of weights · emit: a graph as ONNX · engine: TensorRT at work · adapter, files: copies, and configs. */
export interface Step {
  readonly id: string;
  readonly kind: "link" | "tables" | "emit" | "engine" | "adapter" | "files";
  readonly fingerprint: string;
  /** Absolute, or relative to the engine directory when an earlier step made them. */
  readonly inputs: readonly string[];
  /** Relative to the engine directory. */
  readonly outputs: readonly string[];
  /** What is spawned, for steps that spawn. */
  readonly argv?: readonly string[];
  /** What it is given on its standard input. */
  readonly stdin?: string;
}

/** Plain frozen data: printable as JSON, and all that `runPlan` needs. */
export interface BuildPlan {
  readonly version: string;
  readonly backend: Backend;
  readonly checkpoint_dir: string;
  readonly output_dir: string;
  /** Over all steps: an engine directory with the same one is up to date. Empty where problems left no steps. */
  readonly fingerprint: string;
  readonly copy_weights: boolean;
  readonly force: boolean;
  readonly workers: number;
  /** What --plugins names, as far as it can be read. */
  readonly libraries: readonly PluginLibrary[];
  /** Who builds the engines; null for ONNX Runtime, and in a plan on a machine without TensorRT. */
  readonly builder: BuilderAtHand | null;
  readonly model: EngineModel;
  /** Options that shape the engines, resolved. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly engines: readonly EnginePlan[];
  readonly steps: readonly Step[];
  /** Contents of the JSON files to be written, without what only the run knows. */
  readonly configs: {
    readonly llm: LlmEngineConfig | null;
    readonly visual: VisualEngineConfig | null;
    readonly encoder: LlmEngineConfig | null;
  };
  readonly tokenizer: readonly string[];
  /** Directories of the adapters that are kept as lora/0, lora/1, …; absolute. */
  readonly adapters: readonly string[];
  /** To run: what each GPU holds. */
  readonly memory: MemoryAccount;
  /** To run in ONNX Runtime: what the process holds, all ranks in it; null for engines of TensorRT. */
  readonly process_memory: ProcessMemory | null;
  /** To build: what each engine's builder takes. */
  readonly build_memory: BuildMemory;
  readonly gpu: Gpu | null;
  /** With --strict_profiles: TensorRT-LLM's own inputs and ranges for each of its engines, for comparison. */
  readonly trtllm_profiles: readonly { readonly name: string; readonly inputs: readonly TrtllmInput[] }[] | null;
  readonly adjustments: readonly Adjustment[];
  readonly warnings: readonly Problem[];
  /** Not empty: the plan may be looked at but not run. */
  readonly problems: readonly Problem[];
}

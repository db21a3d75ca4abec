import { availableParallelism } from "node:os";
import { fail } from "../../diagnostics/index.ts";
import type { EngineIo, EnginePart, EngineProfile } from "../../formats/engine-config.ts";
import { CUDA_RUNTIMES, NCCL_LIBRARIES, onnxruntimeLibraries, tensorrtLibraries } from "../../toolchain/runner/find.ts";
import type { Header } from "../../toolchain/runner/frames.ts";
import { blockTokensOf, windowKeeps } from "../calls.ts";
import { longestPiece } from "../pieces.ts";
import { rankTables } from "../ranks/config.ts";
import { decoderOptions, type RunnableEngine } from "../runnable.ts";

export interface DeviceOptions {
  readonly device: "cpu" | "cuda";
  readonly deviceIndex: number;
  readonly runtime: "auto" | "onnxruntime" | "tensorrt";
  /** libonnxruntime, libnvinfer or libtensorrt_rtx; undefined lets the loader find one. */
  readonly runtimeLibrary?: string | undefined;
  /** The plugin library; undefined for none. */
  readonly plugins?: string | undefined;
  readonly recordsSteps: boolean;
  /** Of ONNX Runtime on the CPU; 0 lets it choose. */
  readonly threads: number;
}

/** The largest number of a field that means "no limit". */
const UNLIMITED = 2 ** 31 - 1;

/** The message that opens an engine directory in the runner. `startToken`: of an encoder-decoder. Errors: RUN053, RUN056. */
export function openMessage(engine: RunnableEngine, options: DeviceOptions, startToken: number | undefined): Header {
  const { llm, manifest, visual } = engine;
  const tensorrt = usesTensorRt(engine, options);
  if (!tensorrt && addsTwice(engine, options)) refusePlugins(options.plugins ?? "");
  const piece = longestPiece(llm);
  const backend = manifest.backend === "tensorrt_rtx" ? "tensorrt_rtx" : "tensorrt";
  const known = tensorrt ? tensorrtLibraries(backend) : onnxruntimeLibraries(options.device);
  return {
    kind: "open",
    device: options.device,
    device_index: options.deviceIndex,
    runtime: tensorrt ? "tensorrt" : "onnxruntime",
    runtime_libraries: options.runtimeLibrary === undefined ? known : [options.runtimeLibrary],
    cuda_runtimes: CUDA_RUNTIMES,
    nccl_libraries: NCCL_LIBRARIES,
    plugins: options.plugins ?? "",
    threads: threadsOf(engine, options),
    tp_size: engine.ranks.tpSize,
    pp_size: engine.ranks.ppSize,
    ranks: engine.llmParts.map((_, rank) => enginesOf(engine, options, tensorrt, rank)),
    model: {
      kv_cache_type: llm.build_config.kv_cache_type,
      vocab: llm.io.find(({ name }) => name === "logits")?.shape[1] ?? manifest.model.vocab_size,
      piece: Number.isFinite(piece) ? piece : UNLIMITED,
      block_tokens: blockTokensOf(llm),
      keeps: windowKeeps(llm) ?? 0,
      spans_prompt: llm.spans === "prompt",
      most_tokens: llm.build_config.max_seq_len,
      features_per_image: manifest.model.num_visual_features,
      visual_batch: Math.max(1, visual?.profiles[0]?.shapes.input?.max[0] ?? 1),
      start_token: startToken ?? null,
    },
  };
}

interface Described {
  readonly profiles: readonly EngineProfile[];
  readonly io: readonly EngineIo[];
}

/** ONNX Runtime takes one library with operators of domain `mmtrt`: the plugins', or the runner's sums. */
function addsTwice({ llm, ranks }: RunnableEngine, { device, plugins }: DeviceOptions): boolean {
  const addsByPlugin = typeof llm.build_config.plugin_config.nccl_plugin === "string";
  return device === "cuda" && plugins !== undefined && ranks.tpSize > 1 && !addsByPlugin;
}

/** Ranks on the CPU compute at the same time, so each has its share of the cores. */
function threadsOf({ llmParts }: RunnableEngine, { device, threads }: DeviceOptions): number {
  if (threads > 0 || device === "cuda" || llmParts.length === 1) return threads;
  return Math.max(1, Math.floor(availableParallelism() / llmParts.length));
}

/** The engines of one rank; the visual one is every rank's. */
function enginesOf(engine: RunnableEngine, options: DeviceOptions, tensorrt: boolean, rank: number): readonly object[] {
  const { llm, visual, visualPart, encoder, encoderParts, crossParts, llmParts, ranks, tables } = engine;
  const { keepsQuantizedApart = false } = decoderOptions(llm, { threads: 0 });
  const records = options.recordsSteps && llm.build_config.kv_cache_type !== "continuous";
  const described = (name: string, part: EnginePart | undefined, facts: Described | undefined): readonly object[] => {
    if (part === undefined || facts === undefined) return [];
    return [
      {
        name,
        file: tensorrt ? engineFile(part) : part.onnx,
        profiles: facts.profiles.map(profile => profile.name),
        io: facts.io.map(({ name, kind, dtype, shape }) => ({ name, kind, dtype, shape })),
        keeps_quantized_apart: keepsQuantizedApart && name !== "visual",
        records_steps: records && name === "llm",
      },
    ];
  };
  return [
    ...described("visual", visualPart, visual),
    ...described("encoder", encoderParts[rank], encoder && rankTables(encoder, ranks)[rank]),
    ...described("cross", crossParts[rank], llm.cross),
    ...described("llm", llmParts[rank], tables[rank]),
  ];
}

function usesTensorRt({ manifest }: RunnableEngine, { runtime }: DeviceOptions): boolean {
  return runtime === "tensorrt" || (runtime === "auto" && manifest.backend !== "onnxruntime");
}

function engineFile({ engine, onnx, name }: EnginePart): string {
  if (engine !== null) return engine;
  return fail({
    code: "RUN053",
    what: `${name} has no TensorRT engine`,
    at: onnx,
    why: "the directory was built with --backend onnxruntime, which leaves graphs alone",
    fix: "--runtime onnxruntime, or build with --backend tensorrt",
  });
}

function refusePlugins(file: string): never {
  return fail({
    code: "RUN056",
    what: `${file} is given, and the graphs of the ranks add up by DistCollective and not by its AllReduce`,
    at: "--plugins",
    why: "ONNX Runtime takes the operators of mmtrt from one library, and with that one the ranks' sums would be left out",
    fix: "build with --plugins and --nccl_plugin auto, or run without --plugins",
  });
}

import { fail } from "../../diagnostics/index.ts";
import type { EngineIo, EnginePart, EngineProfile } from "../../formats/engine-config.ts";
import { CUDA_RUNTIMES, onnxruntimeLibraries, tensorrtLibraries } from "../../toolchain/runner/find.ts";
import type { Header } from "../../toolchain/runner/frames.ts";
import { blockTokensOf, windowKeeps } from "../calls.ts";
import { longestPiece } from "../pieces.ts";
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
    plugins: options.plugins ?? "",
    threads: options.threads,
    engines: enginesOf(engine, options, tensorrt),
    model: {
      kv_cache_type: llm.build_config.kv_cache_type,
      vocab: llm.io.find(({ name }) => name === "logits")?.shape[1] ?? manifest.model.vocab_size,
      piece: Number.isFinite(piece) ? piece : UNLIMITED,
      block_tokens: blockTokensOf(llm),
      keeps: windowKeeps(llm) ?? 0,
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

function enginesOf(engine: RunnableEngine, options: DeviceOptions, tensorrt: boolean): readonly object[] {
  const { llm, visual, visualPart, encoder, encoderParts, crossParts, llmParts } = engine;
  if (llmParts.length > 1) refuseRanks(llmParts.length);
  if (llm.io.some(({ name }) => name === "visual_spans")) refuseSpans(engine.manifest.model.architecture);
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
    ...described("encoder", encoderParts[0], encoder),
    ...described("cross", crossParts[0], llm.cross),
    ...described("llm", llmParts[0], llm),
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

function refuseSpans(architecture: string): never {
  return fail({
    code: "RUN056",
    what: `${architecture} has tokens that see those after them; the runner does not make visual_spans, the input that says so`,
    at: "--engine_dir",
    why: "without it an image's tokens would see one side of the image alone, and answers would be wrong",
    fix: "run without --runner and --device, on the CPU",
  });
}

function refuseRanks(ranks: number): never {
  return fail({
    code: "RUN056",
    what: `the engines are of ${ranks} ranks; the runner runs one`,
    at: "--engine_dir",
    why: "each rank has a GPU of its own, and a runner has one",
    fix: "convert with --tp_size 1 --pp_size 1, or run without --runner on the CPU, which does all ranks in one process",
  });
}

import { join } from "node:path";
import { fail, type Problem, throwIfAny } from "../diagnostics/index.ts";
import type { EnginePart, LlmEngineConfig } from "../formats/engine-config.ts";
import { type EngineDir, LLM_CONFIG, openEngine } from "../formats/engine-dir.ts";
import { stampProblems } from "../formats/engine-stamp.ts";
import type { OrtOptions } from "./ort.ts";
import { rankedConfig, rankShape, rankTables, type Table } from "./ranks/config.ts";
import type { RankShape } from "./ranks/graph.ts";

/** An engine directory that ONNX Runtime can serve whole. */
export interface RunnableEngine extends EngineDir {
  /** Of all ranks together. */
  readonly llm: LlmEngineConfig;
  /** Of the first rank. */
  readonly llmPart: EnginePart;
  readonly ranks: RankShape;
  /** What each rank's graph takes and gives by itself. */
  readonly tables: readonly Table[];
}

/**
 * Opens an engine directory for this runtime, which does all ranks in one process, with a continuous or static cache. One
 * built for TensorRT runs too: its graphs are the ones ONNX Runtime would get, as long as its CPU kernels have the dtype.
 * `bfloat16`: whoever runs it has kernels for that.
 * @throws MmtrtError BLD002, BLD003 for the directory; RUN008 no language model in it; RUN019 more than ONNX
 * Runtime has; BLD006 files of another build.
 */
export async function openRunnable(dir: string, { bfloat16 = false } = {}): Promise<RunnableEngine> {
  const engine = await openEngine(dir);
  const { llm } = engine;
  const llmPart = engine.llmParts[0];
  if (llm === undefined || llmPart === undefined) return noLanguageModel(dir);
  const problems: Problem[] = [];
  if (engine.manifest.model.encoder_decoder !== undefined && engine.crossParts.length === 0)
    return noLanguageModel(dir);
  if (!bfloat16 && usesBfloat16(engine)) problems.push(noKernels(dir, engine.manifest.backend));
  throwIfAny([...problems, ...(await stampProblems(engine))]);
  const ranks = rankShape(llm, engine.llmParts.length, join(dir, LLM_CONFIG));
  return { ...engine, llm: rankedConfig(llm, ranks), llmPart, ranks, tables: rankTables(llm, ranks) };
}

/** What the decoder's graph needs of ONNX Runtime besides what the user asked for. */
export function decoderOptions({ pretrained_config }: LlmEngineConfig, options: OrtOptions): OrtOptions {
  const { quant_algo } = (pretrained_config.quantization ?? {}) as { readonly quant_algo?: unknown };
  return quant_algo === "FP8" ? { ...options, keepsQuantizedApart: true } : options;
}

/** Only graphs for TensorRT: for ONNX Runtime they are built in float32. */
function usesBfloat16({ llm, visual, encoder }: EngineDir): boolean {
  return [llm, visual, encoder].some(part => part?.io.some(({ dtype }) => dtype === "bfloat16"));
}

function noKernels(dir: string, backend: string): Problem {
  return {
    code: "RUN019",
    what: `${dir} was built for ${backend} in bfloat16, which ONNX Runtime cannot run on the CPU`,
    at: "--engine_dir",
    why: "the same graph is run by ONNX Runtime here, and its CPU kernels lack bfloat16",
    fix: "build the checkpoint with --backend onnxruntime (it widens to float32), or convert with --dtype float16",
  };
}

function noLanguageModel(dir: string): never {
  return fail({
    code: "RUN008",
    what: `${dir} holds no language model`,
    at: "--engine_dir",
    why: "it was built with --only visual, and features alone give no text",
    fix: "build without --only visual",
  });
}

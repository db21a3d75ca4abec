import { rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { rangeSources } from "../checkpoint/act-ranges.ts";
import { type ConvertRequest, convert } from "../checkpoint/convert.ts";
import { planConversion } from "../checkpoint/plan.ts";
import { NO_QUANTIZATION } from "../checkpoint/quantization-options.ts";
import { type ConvertedCheckpoint, openCheckpoint } from "../checkpoint/read.ts";
import { openSource } from "../checkpoint/source.ts";
import { writeOnnx } from "../emit/onnx.ts";
import { withDefaults } from "../options/define.ts";
import { buildOptions } from "../options/tables/build.ts";
import { isMeasured, measure } from "../quantize/calibrate.ts";
import { readCalibrationSet } from "../quantize/calibration-data.ts";
import { withRangeOutputs } from "../quantize/range-outputs.ts";
import { buildGraph, locationsOf } from "./engine-plans.ts";
import type { BuildPlan } from "./plan.ts";
import { planBuild } from "./plan-build.ts";
import { runPlan } from "./run-plan.ts";

/** What is to be measured, and what of it is shown. */
export interface CalibrationOptions {
  /** Rows of activations kept of each sample, for AWQ's search; 0 for ranges alone. */
  readonly rows: number;
  /** Most samples, whatever --calib_size says: TensorRT-LLM's limit for AWQ is 32. */
  readonly atMost?: number;
  readonly threads: number;
  readonly onProgress?: (done: number, total: number) => void;
  /** Told when measuring begins, with the directory it works in. */
  readonly onStart?: (dir: string) => void;
}

/**
 * Measures the activations that `request` needs: converts the model in float on one rank, builds it for ONNX Runtime, and
 * reads the calibration texts with it. Works in `<output_dir>.calibration`, which an aborted run leaves for the next and
 * a finished one removes. @returns `<output_dir>.act_ranges.safetensors`, which fits --act_ranges.
 * Errors: CKP… of the conversion, CKP087 for the texts, RUN… of the tokenizer and images.
 */
export async function calibrate(request: ConvertRequest, options: CalibrationOptions): Promise<string> {
  const { calib_dataset, calib_size } = request.quantization ?? {};
  const size = Math.min(calib_size ?? options.atMost ?? Number.POSITIVE_INFINITY, options.atMost ?? Infinity);
  const set = await readCalibrationSet(calib_dataset, Number.isFinite(size) ? size : undefined);
  const output = resolve(request.outputDir);
  const work = join(dirname(output), `${basename(output)}.calibration`);
  const file = join(dirname(output), `${basename(output)}.act_ranges.safetensors`);
  const { quantization: _, onProgress: __, ...floatRequest } = request;
  const checkpointDir = join(work, "checkpoint");
  const quantization = { ...NO_QUANTIZATION, qformat: "full_prec" } as const;
  const asked = { ...floatRequest, quantization, outputDir: checkpointDir, parallel: ONE_RANK };
  const key = `${await fingerprint(asked)}-${set.key}-${options.rows}`;
  if (await isMeasured(file, key)) return file;
  options.onStart?.(work);
  await convert(asked);
  const checkpoint = await openCheckpoint(checkpointDir);
  try {
    const engineDir = join(work, "engine");
    const plan = await buildFloat(checkpoint, engineDir, request);
    await measure({
      ...(await writeGraph(checkpoint, plan, engineDir, options.rows > 0)),
      engineDir,
      sources: rangeSources(checkpoint.spec.language, checkpoint.architecture.weights(checkpoint.spec)),
      items: set.items,
      maxPositions: checkpoint.spec.language.maxPositions,
      rows: options.rows,
      key,
      file,
      ort: { threads: options.threads },
      ...(request.signal && { signal: request.signal }),
      ...(options.onProgress && { onProgress: options.onProgress }),
    });
  } finally {
    await checkpoint.close();
  }
  await rm(work, { recursive: true, force: true });
  return file;
}

const ONE_RANK: ConvertRequest["parallel"] = {
  tpSize: 1,
  ppSize: 1,
  parallelEmbedding: false,
  embeddingShardingDim: 0,
  shareEmbedding: false,
};

/** Of the float conversion, from headers alone: ranges of the same model and texts are not measured twice. */
async function fingerprint(request: ConvertRequest): Promise<string> {
  const source = await openSource(request.modelDir, request.metaDir, request);
  try {
    return (await planConversion(source, request)).fingerprint;
  } finally {
    await source.close();
  }
}

/** In float32 whatever the weights are: ONNX Runtime's kernels for halves are slow, and ranges lose nothing. */
async function buildFloat(checkpoint: ConvertedCheckpoint, dir: string, request: ConvertRequest): Promise<BuildPlan> {
  const { maxPositions } = checkpoint.spec.language;
  const options = withDefaults(buildOptions, {
    checkpoint_dir: checkpoint.dir,
    output_dir: dir,
    compute_dtype: "float32" as const,
    max_input_len: maxPositions,
    max_seq_len: maxPositions,
  });
  const origin = (key: string): string => `--${key} (of the calibration)`;
  const environment = { version: request.version, origin, given: () => false };
  const plan = await planBuild(options, environment);
  for await (const _ of runPlan(plan, request.signal ?? new AbortController().signal)) request.signal?.throwIfAborted();
  return plan;
}

async function writeGraph(
  checkpoint: ConvertedCheckpoint,
  plan: BuildPlan,
  engineDir: string,
  keepsRows: boolean,
): Promise<{ graph: string; outputs: ReturnType<typeof withRangeOutputs>["outputs"] }> {
  const engine = plan.engines.find(({ kind }) => kind === "llm");
  const weights = checkpoint.ranks[0];
  if (engine === undefined || weights === undefined) throw new Error("the float model has no decoder");
  const { graph, outputs } = withRangeOutputs(buildGraph(checkpoint, "llm", engine.options), keepsRows);
  const file = join(engineDir, "llm", "calibration.onnx");
  const options = {
    location: basename(engine.weights),
    tensors: locationsOf(weights.tensors),
    producerVersion: checkpoint.manifest.version,
  };
  await writeOnnx(graph, file, options);
  return { graph: file, outputs };
}

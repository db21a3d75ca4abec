import type { ConvertRequest } from "../../checkpoint/convert.ts";
import { bytesOf, planConversion } from "../../checkpoint/plan.ts";
import { NO_QUANTIZATION } from "../../checkpoint/quantization-options.ts";
import { openCheckpoint } from "../../checkpoint/read.ts";
import { openSource } from "../../checkpoint/source.ts";
import { type WeightError, weightError } from "../../quantize/weight-error.ts";
import { linearForm, moduleOf, type StoredTensor } from "../../tensor/index.ts";

/** One quantized product; layers of later pipeline stages are numbered as in their own files. */
export interface LayerError extends WeightError {
  readonly module: string;
  readonly rank: number;
}

export interface Comparison {
  readonly quant_algo: string | null;
  readonly layers: readonly LayerError[];
  /** Quantized modules that cannot be compared by weight: smoothed, or kept as floats. */
  readonly not_compared: number;
  /** Of all weight files, and of the same files in float. */
  readonly bytes: number;
  readonly float_bytes: number;
}

/**
 * Each quantized layer of the checkpoint in `dir` against the float weights of `request`'s model, which may be of any
 * format that convert reads. Errors: CKP050 and more for the checkpoint; those of planning a conversion for the model.
 */
export async function compareWeights(
  request: ConvertRequest,
  dir: string,
  onProgress?: (done: number, total: number) => void,
): Promise<Comparison> {
  const checkpoint = await openCheckpoint(dir);
  const source = await openSource(request.modelDir, request.metaDir, request);
  try {
    const quantization = { ...NO_QUANTIZATION, qformat: "full_prec" } as const;
    const { dtype } = checkpoint.manifest.options;
    const plan = await planConversion(source, { ...request, quantization, dtype, parallel: checkpoint.parallel });
    const quant = checkpoint.quantization;
    const pairs = plan.mapping.ranks.flatMap((recipes, rank) =>
      recipes.flatMap(float => {
        const module = moduleOf(float.name);
        const form = module === undefined ? undefined : linearForm(quant, module);
        return module === undefined || form === undefined || form.kind === "plain"
          ? []
          : [{ float, module, form, rank }];
      }),
    );
    const layers: LayerError[] = [];
    for (const [i, { float, module, form, rank }] of pairs.entries()) {
      request.signal?.throwIfAborted();
      const tensors = checkpoint.ranks[rank]?.tensors;
      const error = await weightError(float, form, name => tensors?.get(`${module}.${name}`) as StoredTensor);
      if (error !== undefined) layers.push({ module, rank, ...error });
      onProgress?.(i + 1, pairs.length);
    }
    return {
      quant_algo: quant?.quantAlgo ?? null,
      layers,
      not_compared: pairs.length - layers.length,
      bytes: checkpoint.manifest.files.reduce((sum, { size }) => sum + size, 0),
      float_bytes: plan.jobs.reduce((sum, job) => sum + bytesOf(job), 0),
    };
  } finally {
    await source.close();
    await checkpoint.close();
  }
}

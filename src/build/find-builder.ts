import { MmtrtError } from "../diagnostics/index.ts";
import type { BuildOptions } from "../options/tables/build.ts";
import { queryGpus } from "../toolchain/machine.ts";
import { chooseBuilder } from "../toolchain/tensorrt/builders.ts";
import type { FoundBuilder } from "../toolchain/tensorrt/find.ts";
import type { ToolEnvironment } from "../toolchain/tensorrt/request.ts";

/** Who will build, and for which GPUs: what a plan needs to know of the machine. */
export interface BuilderAtHand {
  readonly found: FoundBuilder;
  /** SMs of this machine's GPUs, in the driver's order; null where nobody could be asked. */
  readonly gpus: readonly number[] | null;
}

export interface FindBuilderOptions {
  readonly env: ToolEnvironment;
  readonly signal: AbortSignal;
  readonly trtexecFlags: readonly string[];
  /** Nothing will be built: a machine without TensorRT can still plan. */
  readonly optional: boolean;
}

/** Null for ONNX Runtime, and where nothing is installed and `optional` is said. Errors: ENV020, TRT005. */
export async function findBuilder(options: BuildOptions, search: FindBuilderOptions): Promise<BuilderAtHand | null> {
  const { backend, builder, python } = options;
  if (backend === "onnxruntime") return null;
  const { env, signal, trtexecFlags } = search;
  const wanted = { backend, builder, trtexecFlags, ...(python !== undefined && { python }) };
  try {
    const found = await chooseBuilder(wanted, env, signal);
    const gpus = found.builder === "python" ? found.gpus : await queryGpus({ signal });
    return { found, gpus: gpus?.map(({ sm }) => sm) ?? null };
  } catch (error) {
    const missing = error instanceof MmtrtError && error.problems.every(({ code }) => code === "ENV020");
    if (missing && search.optional) return null;
    throw error;
  }
}

import type { Problem } from "../diagnostics/index.ts";
import type { KnownModel } from "../models/registry.ts";
import { hashFiles } from "./hash.ts";
import type { ConvertSettings, NonFinite } from "./manifest.ts";
import { nonFiniteProblems } from "./non-finite.ts";
import { OutputDir } from "./output-dir.ts";
import { withPackedFile } from "./packed-file.ts";
import { bytesOf, type ConvertRequest, type Plan, planConversion } from "./plan.ts";
import { openSource } from "./source.ts";
import { writeAll } from "./write.ts";

export type { ConvertProgress, ConvertRequest } from "./plan.ts";

export interface ConvertResult {
  readonly outputDir: string;
  /** "unchanged": the directory held this very conversion already. */
  readonly status: "converted" | "resumed" | "unchanged";
  readonly model: KnownModel;
  readonly settings: ConvertSettings;
  readonly bytes: number;
  readonly files: readonly string[];
  readonly warnings: readonly Problem[];
}

/**
 * Converts a checkpoint into the layout of DESIGN §4. Nothing appears under `outputDir` before everything is written;
 * an aborted run is continued by the next with the same inputs. Memory: a few bands for each worker, and while weights are
 * quantized up to 96 MiB of them and 64 MiB of codes.
 * Errors: SPC… config.json, CKP… files, tensors, output; collected and thrown together per stage.
 */
export async function convert(request: ConvertRequest): Promise<ConvertResult> {
  const stored = await openSource(request.modelDir, request.metaDir, request);
  const source = await withPackedFile(stored, request.quantization);
  try {
    const plan = await planConversion(source, request);
    const output = await OutputDir.open(request.outputDir, plan.fingerprint);
    if (output === "done") return resultOf(plan, request, "unchanged", []);
    const hashes = request.hash ? hashFiles(source.weightFiles) : undefined;
    try {
      const resumed = await writeAll(plan, request, output, hashes);
      return resultOf(plan, request, resumed.some ? "resumed" : "converted", resumed.nonFinite);
    } catch (error) {
      await output.abandon(request.signal?.aborted === true);
      throw error;
    } finally {
      await hashes?.stop();
    }
  } finally {
    await source.close();
  }
}

function resultOf(
  plan: Plan,
  request: ConvertRequest,
  status: ConvertResult["status"],
  nonFinite: readonly NonFinite[],
): ConvertResult {
  return {
    outputDir: request.outputDir,
    status,
    model: plan.model,
    settings: plan.settings,
    bytes: plan.jobs.reduce((sum, job) => sum + bytesOf(job), 0),
    files: plan.jobs.map(({ file }) => file),
    warnings: [...plan.warnings, ...nonFiniteProblems(nonFinite)],
  };
}

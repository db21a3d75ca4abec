import { rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { type ConvertRequest, convert } from "../../checkpoint/convert.ts";
import { NO_QUANTIZATION, type QuantizationOptions } from "../../checkpoint/quantization-options.ts";
import { MmtrtError, type Problem } from "../../diagnostics/index.ts";
import type { AccuracyReport } from "../../runtime/accuracy.ts";
import { type AnswerOptions, accuracyOf } from "./answers.ts";
import { type Comparison, compareWeights } from "./compare.ts";

const INT4 = { use_weight_only: true, weight_only_precision: "int4" } as const;

/** Formats by the name that mmtrt quantize has for them, from the smallest to the largest. */
export const FORMATS = {
  int4: INT4,
  int4_g128: { ...INT4, group_size: 128 },
  int4_awq: { qformat: "int4_awq" },
  int4_g64: { ...INT4, group_size: 64 },
  int4_g32: { ...INT4, group_size: 32 },
  int4_g16: { ...INT4, group_size: 16 },
  int8_sq: { qformat: "int8_sq" },
  int8: { use_weight_only: true },
} as const satisfies Readonly<Record<string, Partial<QuantizationOptions>>>;

export type Format = keyof typeof FORMATS;
export const FORMAT_NAMES = Object.keys(FORMATS) as readonly Format[];

/** What became of one format. */
export interface Trial extends Comparison {
  readonly format: Format | "checkpoint";
  /** Null where nothing was asked. */
  readonly accuracy: number | null;
  readonly correct: number | null;
  /** Whether the accuracy is what was asked for; null where nothing was. */
  readonly kept: boolean | null;
}

export interface SearchRequest {
  /** The model, options of the split and the directory that the chosen checkpoint goes to. */
  readonly convert: ConvertRequest;
  readonly formats: readonly Format[];
  readonly quantization: Partial<QuantizationOptions>;
  /** Least accuracy, of the float model's accuracy. */
  readonly least: (float: number) => number;
  readonly answers: AnswerOptions;
  readonly onTrial?: (format: string) => void;
}

export interface SearchResult {
  readonly float: AccuracyReport;
  readonly least: number;
  readonly trials: readonly Trial[];
  /** Formats that this model cannot have, with the reason. */
  readonly refused: readonly { readonly format: Format; readonly problems: readonly Problem[] }[];
  readonly chosen: Format | null;
}

/**
 * Converts, builds and asks format after format, from the smallest, until one is as accurate as asked; that one is left in
 * the request's output directory. Works in `<output_dir>.quantize`, which is removed. The model is asked in float first.
 */
export async function searchFormat(request: SearchRequest): Promise<SearchResult> {
  const output = resolve(request.convert.outputDir);
  const work = join(dirname(output), `${basename(output)}.quantize`);
  await rm(work, { recursive: true, force: true });
  try {
    request.onTrial?.("float");
    const float = await askedIn("float", {}, request, work);
    const least = request.least(float.accuracy);
    const trials: Trial[] = [];
    const refused: { format: Format; problems: readonly Problem[] }[] = [];
    for (const format of FORMAT_NAMES.filter(name => request.formats.includes(name))) {
      request.onTrial?.(format);
      const tried = await tryFormat(format, request, work, least);
      if (Array.isArray(tried)) refused.push({ format, problems: tried });
      else trials.push(tried as Trial);
      if (trials.at(-1)?.kept !== true || Array.isArray(tried)) continue;
      await convert({ ...request.convert, quantization: optionsOf(format, request) });
      return { float, least, trials, refused, chosen: format };
    }
    return { float, least, trials, refused, chosen: null };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

export function optionsOf(
  format: Format,
  { quantization }: { readonly quantization: Partial<QuantizationOptions> },
): QuantizationOptions {
  return { ...NO_QUANTIZATION, ...quantization, ...FORMATS[format] };
}

/** @returns the problems of a format that does not fit the model's sizes or family. */
async function tryFormat(
  format: Format,
  request: SearchRequest,
  work: string,
  least: number,
): Promise<Trial | readonly Problem[]> {
  try {
    const { accuracy, correct } = await askedIn(format, optionsOf(format, request), request, work);
    const comparison = await compareWeights(request.convert, join(work, format));
    return { format, ...comparison, accuracy, correct, kept: accuracy >= least };
  } catch (error) {
    const problems = error instanceof MmtrtError ? error.problems : [];
    if (problems.length === 0 || !problems.every(({ code }) => /^CKP08[0-4]$/.test(code))) throw error;
    return problems;
  } finally {
    await rm(join(work, format), { recursive: true, force: true });
  }
}

async function askedIn(
  name: string,
  given: Partial<QuantizationOptions>,
  request: SearchRequest,
  work: string,
): Promise<AccuracyReport> {
  const dir = join(work, name);
  const quantization = { ...NO_QUANTIZATION, ...given };
  await convert({ ...request.convert, quantization, outputDir: dir });
  try {
    return await accuracyOf(dir, `${dir}.engine`, request.answers);
  } finally {
    await rm(`${dir}.engine`, { recursive: true, force: true });
  }
}

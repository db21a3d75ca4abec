import { basename } from "node:path";
import { accuracyOf } from "../../build/quantize/answers.ts";
import { compareWeights } from "../../build/quantize/compare.ts";
import { FORMAT_NAMES, type Format, optionsOf, searchFormat, type Trial } from "../../build/quantize/search.ts";
import { type ConvertRequest, convert } from "../../checkpoint/convert.ts";
import { writeText } from "../../checkpoint/files.ts";
import { fail } from "../../diagnostics/index.ts";
import { quantizeOptions } from "../../options/tables/quantize.ts";
import { type QuantizeReport, renderQuantizeReport } from "../../report/quantize.ts";
import { readAccuracyFile } from "../../runtime/accuracy.ts";
import { type CommandContext, defineCommand } from "../command.ts";
import { localPaths } from "../hub.ts";
import { checkRequest, failedSearch, NEEDS_CALIBRATION } from "../quantize/checks.ts";
import { scratchDir } from "../quantize/scratch.ts";
import { reportText } from "../quantize/text.ts";
import { VERSION } from "../version.ts";

type Context = CommandContext<typeof quantizeOptions>;
type Found = Omit<QuantizeReport, "version" | "model" | "date">;

export const quantize = defineCommand({
  name: "quantize",
  options: quantizeOptions,
  async run(context) {
    const { options, ui, signal, origin } = context;
    checkRequest(options, origin);
    const { paths, hub } = await localPaths({ ui, signal, origin }, [
      { key: "model_dir", value: options.model_dir, revision: options.revision },
    ]);
    const request = requestOf(context, paths[0] as string, hub);
    const searches = options.auto !== undefined || options.max_loss !== undefined;
    const found = searches ? await search(context, request) : await compare(context, request);
    const model = basename(paths[0] as string);
    const report = { version: VERSION, model, date: new Date(), ...found };
    if (options.report !== undefined) await writeText(options.report, renderQuantizeReport(report));
    ui.result(reportText(report), { ...found });
    if (searches && found.chosen === null) fail(failedSearch(report, origin));
  },
});

function requestOf(
  { options, ui, signal, origin }: Context,
  modelDir: string,
  hub: NonNullable<ConvertRequest["hub"]>,
): ConvertRequest {
  return {
    modelDir,
    hub,
    outputDir: options.output_dir ?? "",
    dtype: options.dtype,
    parallel: {
      tpSize: options.tp_size,
      ppSize: options.pp_size,
      parallelEmbedding: false,
      embeddingShardingDim: 0,
      shareEmbedding: false,
    },
    measure: async (request, quant) => (await import("../measure.ts")).measureFor(request, quant, ui),
    workers: options.workers,
    strict: false,
    hash: false,
    version: VERSION,
    origin,
    signal,
    onProgress: ({ event: _, ...progress }) => ui.progress(progress),
  };
}

async function answersOf({ options, ui, signal }: Context, file: string) {
  const cases = await readAccuracyFile(file);
  return {
    cases,
    at: file,
    maxNewTokens: options.max_new_tokens,
    batchSize: options.batch_size,
    threads: options.threads,
    version: VERSION,
    signal,
    onProgress: (done: number) => ui.progress({ id: "accuracy", label: "check_accuracy", done, total: cases.length }),
  };
}

const given = ({ options }: Context) => ({
  quantize_lm_head: options.quantize_lm_head,
  calib_dataset: options.calib_dataset,
  calib_size: options.calib_size,
});

async function search(context: Context, request: ConvertRequest): Promise<Found> {
  const { options, ui } = context;
  const { auto, max_loss: loss } = options;
  const result = await searchFormat({
    convert: request,
    formats: options.format ?? FORMAT_NAMES.filter(name => !NEEDS_CALIBRATION.has(name)),
    quantization: given(context),
    least: float => auto ?? float - (loss ?? 0) / 100,
    answers: await answersOf(context, options.check_accuracy as string),
    onTrial: format => ui.info(`trying ${format}`, { trying: format }),
  });
  const { accuracy, correct, total } = result.float;
  return {
    ...result,
    float: { accuracy, correct, total },
    refused: result.refused.map(({ format, problems }) => [format, problems[0]?.what ?? ""]),
  };
}

/** One format, converted here or before, beside the float model. */
async function compare(context: Context, request: ConvertRequest): Promise<Found> {
  const { options, ui } = context;
  const [format] = options.format ?? [];
  const quantization = format === undefined ? undefined : optionsOf(format as Format, { quantization: given(context) });
  if (options.checkpoint_dir === undefined) await convert({ ...request, ...(quantization && { quantization }) });
  const dir = options.checkpoint_dir ?? request.outputDir;
  const comparison = await compareWeights(request, dir, (done, total) =>
    ui.progress({ id: "compare", label: "comparing layers", done, total, unit: "layers" }),
  );
  const trial: Trial = {
    ...{ format: format ?? "checkpoint", ...comparison },
    ...{ accuracy: null, correct: null, kept: null },
  } as Trial;
  const none = { chosen: null, least: null, refused: [] };
  if (options.check_accuracy === undefined) return { ...none, float: null, trials: [trial] };
  const answers = await answersOf(context, options.check_accuracy);
  const work = await scratchDir();
  try {
    const own = await accuracyOf(dir, work.path("engine"), answers);
    await convert({ ...request, outputDir: work.path("float") });
    const { accuracy, correct, total } = await accuracyOf(work.path("float"), work.path("float.engine"), answers);
    const asked = { ...trial, accuracy: own.accuracy, correct: own.correct };
    return { ...none, float: { accuracy, correct, total }, trials: [asked] };
  } finally {
    await work.remove();
  }
}

import { existsSync } from "node:fs";
import { fail, type Problem } from "../diagnostics/index.ts";
import type { EngineModel } from "../formats/engine-config.ts";
import { promptItem } from "./answer.ts";
import type { Assistant } from "./assistant.ts";
import { Decoder } from "./decoder.ts";
import { searchTokens } from "./generate/greedy.ts";
import { GENERATE_DEFAULTS } from "./generate/options.ts";
import type { OrtOptions } from "./ort.ts";
import { type PromptItem, placeImages } from "./prompt.ts";
import type { Features } from "./prompt-table.ts";
import { openTappedRanks } from "./ranks/open.ts";
import { type Reference, unusable } from "./reference.ts";
import { decoderOptions } from "./runnable.ts";
import type { Session } from "./session.ts";
import type { TappedGraph } from "./tapped-graph.ts";
import { checkReference } from "./verify/check.ts";
import { comparePixels, compareVision } from "./verify/images.ts";
import { comparePair } from "./verify/pair.ts";
import { compareTokens, longestAnswer, type StageResult, Stages } from "./verify/stages.ts";

export type { StageResult } from "./verify/stages.ts";

export interface VerifyRequest {
  readonly assistant: Assistant<Session>;
  readonly reference: Reference;
  /** Of a float stage; by the engine's dtype when undefined. */
  readonly tolerance: number | undefined;
  readonly ort: OrtOptions;
  readonly signal: AbortSignal;
}

/** The bounds: rounding of the element type through a whole model. */
const TOLERANCE: Readonly<Record<string, number>> = { float32: 1e-4, float16: 2e-2, bfloat16: 2e-2 };

/** Stages that no engine computes. */
const INPUTS = ["preprocess", "prompt", "start token"];

/**
 * Runs the reference's request and compares stage by stage, in the order in which they are computed. The vision encoder
 * gets the reference's pixels and the decoder its ids, so that a fault in front does not hide the ones behind it.
 */
export async function verify(request: VerifyRequest): Promise<readonly StageResult[]> {
  const { assistant, reference } = request;
  const { engine } = assistant.session;
  checkReference(reference, engine.manifest.model);
  const tolerance = request.tolerance ?? TOLERANCE[String(engine.llm.pretrained_config.dtype)] ?? 1e-4;
  const stages = new Stages(reference, tolerance);
  await comparePixels(assistant, reference, stages);
  await comparePrompt(assistant, reference, stages);
  request.signal.throwIfAborted();
  const features = await compareVision(assistant, request.ort, stages);
  request.signal.throwIfAborted();
  if (engine.manifest.model.encoder_decoder === undefined) await compareDecoder(request, stages, features);
  else await comparePair({ engine, stages, signal: request.signal }, request.ort, features);
  const computed = stages.results.filter(({ stage }) => !INPUTS.includes(stage));
  if (computed.every(({ state }) => state === "skipped")) fail(unusable(reference.file, "has no stage to compare"));
  return stages.results;
}

/** @returns the problem that the first stage out of tolerance is; later ones differ because of it. */
export function firstDifference(results: readonly StageResult[], reference: Reference): Problem | undefined {
  const first = results.find(({ state }) => state === "differs");
  if (first === undefined) return undefined;
  const { stage, difference, limit, index, note } = first;
  const numbers =
    difference === undefined
      ? note
      : `[${index?.join(", ")}] is ${difference.actual}, the reference has ${difference.expected}; off by ${difference.worst.toExponential(2)} where ${limit?.toExponential(2)} is allowed, cosine ${difference.cosine.toFixed(6)}`;
  return {
    code: "NUM002",
    what: `stage ${stage} differs: ${numbers}`,
    at: `${reference.file}: ${stage}`,
    why: "stages before it are within tolerance, so the difference begins there",
    fix: fixOf(stage),
  };
}

function fixOf(stage: string): string {
  if (stage === "preprocess") return "compare preprocessor_config.json with the one the reference used";
  if (stage === "prompt") return "compare tokenizer.json and the chat template with the ones the reference used";
  if (stage === "start token") return "compare decoder_start_token_id in generation_config.json with the reference's";
  if (stage.startsWith("tokens"))
    return "if the top logits are close, a lower precision may choose another token: build in float32 to tell";
  return "check that the engine was built from the reference's checkpoint; in float16, build in float32 to tell rounding from a fault";
}

/** The question through prompt format and tokenizer, placeholders repeated as the reference's processor does. */
async function comparePrompt(
  assistant: Assistant,
  { question, image, tensors }: Reference,
  stages: Stages,
): Promise<void> {
  const { model } = assistant.session.engine.manifest;
  if (model.encoder_decoder?.has_text_encoder === false) return;
  if (question === undefined) {
    stages.skip("prompt", "the reference names no question");
    return;
  }
  const images = tensors.has("pixel_values") ? 1 : 0;
  const needsPicture = images > 0 && model.visual_tokens !== undefined;
  if (needsPicture && (image === undefined || !existsSync(image))) {
    stages.skip("prompt", image === undefined ? "the reference names no picture" : `${image} is not there`);
    return;
  }
  const pixels = needsPicture && image !== undefined ? [await assistant.image(image)] : [];
  const ids = await assistant.promptIds(question, needsPicture ? pixels : images, "auto");
  const item = needsPicture ? promptItem({ ids, pixels }) : { ids, images };
  // Of another model's tokenizer ids may be what no prompt can have; the comparison says so.
  const foreign = ids.some(id => id >= model.vocab_size);
  const [placed = []] = foreign ? [ids] : placeImages([item], model, "--reference").prompts;
  const shown = placed.map(id => (!foreign && id >= model.vocab_size ? (model.image_token_id ?? id) : id));
  stages.ids("prompt", shown, stages.get("input_ids")?.data ?? []);
}

/** The reference's own prompt: of models whose images differ the processor has repeated the placeholder for each feature. */
function referenceItem(stages: Stages, { visual_tokens: rule, image_token_id: image }: EngineModel): PromptItem {
  const ids = Array.from(stages.get("input_ids")?.data ?? []);
  if (rule === undefined) return { ids, images: stages.get("pixel_values")?.shape[0] ?? 0 };
  const features = ids.filter(id => id === image).length;
  return features === 0 ? { ids, images: 0 } : { ids, images: 1, features: [features] };
}

async function compareDecoder(
  { assistant, ort, signal }: VerifyRequest,
  stages: Stages,
  features: Features | undefined,
): Promise<void> {
  const { llm, llmParts, ranks, manifest } = assistant.session.engine;
  const item = referenceItem(stages, manifest.model);
  const { prompts, tableRows } = placeImages([item], manifest.model, "--reference");
  const longest = longestAnswer(stages);
  const graph = await openTappedRanks(llmParts, ranks, decoderOptions(llm, ort));
  try {
    const decoder = new Decoder(graph, llm, manifest.model.num_visual_features);
    const size = { batch: 1, beams: 1, promptTokens: prompts[0]?.length ?? 0, newTokens: longest, tableRows };
    decoder.check(size, "--reference");
    const decoding = await decoder.prefill(prompts, features);
    compareLayers(graph, stages);
    stages.floats("logits", "logits", decoding.logits);
    const [free] = await searchTokens(
      decoding,
      [item.ids],
      { ...GENERATE_DEFAULTS, maxNewTokens: longest },
      { signal },
    );
    compareTokens(free?.tokenIds ?? [], stages);
  } finally {
    await graph.close();
  }
}

function compareLayers(graph: TappedGraph, stages: Stages): void {
  stages.floats("prompt_table", "inputs_embeds", graph.firstValue("inputs_embeds")?.data);
  const layers = graph.taps.filter(tap => tap.startsWith("layers."));
  for (const tap of layers) {
    const layer = tap.slice("layers.".length);
    stages.floats(`layer ${layer}`, `layer_${layer}`, graph.firstValue(tap)?.data);
  }
}

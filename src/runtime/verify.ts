import { existsSync } from "node:fs";
import { fail, type Problem } from "../diagnostics/index.ts";
import type { Assistant } from "./assistant.ts";
import { compareValues, type Difference, isClose } from "./compare.ts";
import { Decoder, type Features } from "./decoder.ts";
import { searchTokens } from "./generate/greedy.ts";
import { GENERATE_DEFAULTS } from "./generate/options.ts";
import type { PixelValues } from "./image/preprocess.ts";
import type { OrtOptions } from "./ort.ts";
import { placeImages } from "./prompt.ts";
import { type Reference, type ReferenceTensor, unusable } from "./reference.ts";
import { openTapped, type TappedGraph } from "./tapped-graph.ts";

/** One stage beside the reference's. */
export interface StageResult {
  readonly stage: string;
  readonly state: "equal" | "differs" | "skipped";
  /** Of numbers; absent for ids and for what was skipped. */
  readonly difference?: Difference;
  /** Largest difference allowed. */
  readonly limit?: number;
  /** Where the worst element is, in the reference's shape. */
  readonly index?: readonly number[];
  /** Why it was skipped, or which id differs. */
  readonly note?: string;
}

export interface VerifyRequest {
  readonly assistant: Assistant;
  readonly reference: Reference;
  /** Of a float stage; by the engine's dtype when undefined. */
  readonly tolerance: number | undefined;
  readonly ort: OrtOptions;
  readonly signal: AbortSignal;
}

/** The bounds: rounding of the element type through a whole model. */
const TOLERANCE: Readonly<Record<string, number>> = { float32: 1e-4, float16: 2e-2, bfloat16: 2e-2 };

/**
 * Runs the reference's request and compares stage by stage, in the order in which they are computed. The vision encoder
 * gets the reference's pixels and the decoder its ids, so that a fault in front does not hide the ones behind it.
 */
export async function verify(request: VerifyRequest): Promise<readonly StageResult[]> {
  const { assistant, reference } = request;
  if (assistant.session.engine.manifest.model.encoder_decoder !== undefined) isPair(assistant);
  const { pretrained_config } = assistant.session.engine.llm;
  const tolerance = request.tolerance ?? TOLERANCE[String(pretrained_config.dtype)] ?? 1e-4;
  const stages = new Stages(reference, tolerance);
  await comparePixels(assistant, reference, stages);
  await comparePrompt(assistant, reference, stages);
  request.signal.throwIfAborted();
  const features = await compareVision(request, stages);
  request.signal.throwIfAborted();
  await compareDecoder(request, stages, features);
  return stages.results;
}

function isPair({ session }: Assistant): never {
  return fail({
    code: "NUM005",
    what: `${session.engine.manifest.model.architecture} is an encoder-decoder; verify compares decoder-only models`,
    at: "--engine_dir",
    why: "the prompt goes through an encoder, whose stages are not followed yet",
    fix: "compare answers with --check_accuracy of mmtrt run",
  });
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
  if (stage.startsWith("tokens"))
    return "if the top logits are close, a lower precision may choose another token: build in float32 to tell";
  return "check that the engine was built from the reference's checkpoint; in float16, build in float32 to tell rounding from a fault";
}

/** Collects comparisons; a tensor that the reference lacks is skipped, one of another size is an error. */
class Stages {
  readonly results: StageResult[] = [];
  readonly #reference: Reference;
  readonly #tolerance: number;

  constructor(reference: Reference, tolerance: number) {
    this.#reference = reference;
    this.#tolerance = tolerance;
  }

  get(name: string): ReferenceTensor | undefined {
    return this.#reference.tensors.get(name);
  }

  skip(stage: string, note: string): void {
    this.results.push({ stage, state: "skipped", note });
  }

  /** `actual` may have more rows than the reference, which may keep only the last ones of a layer. */
  floats(stage: string, name: string, actual: Float32Array | undefined, tolerance = this.#tolerance): void {
    const expected = this.get(name);
    if (expected === undefined || actual === undefined) {
      const missing = "the engine's graph does not show it; build it again to see this stage";
      this.skip(stage, expected === undefined ? `the reference has no ${name}` : missing);
      return;
    }
    const tail = name.startsWith("layer_")
      ? actual.subarray(Math.max(0, actual.length - expected.data.length))
      : actual;
    if (tail.length !== expected.data.length) {
      fail(
        unusable(
          this.#reference.file,
          `has ${expected.data.length} elements in ${name}; the engine computes ${actual.length}`,
        ),
      );
    }
    const difference = compareValues(tail, expected.data);
    const state = isClose(difference, tolerance) ? "equal" : "differs";
    const limit = tolerance * Math.max(1, difference.scale);
    this.results.push({ stage, state, difference, limit, index: coordinates(difference.index, expected.shape) });
  }

  ids(stage: string, actual: readonly number[], expected: ArrayLike<number>): void {
    const length = Math.max(actual.length, expected.length);
    const at = Array.from({ length }, (_, i) => i).find(i => actual[i] !== expected[i]);
    if (at === undefined) this.results.push({ stage, state: "equal" });
    else {
      const note = `token ${at} of ${length} is ${actual[at] ?? "missing"}, the reference has ${expected[at] ?? "none"}`;
      this.results.push({ stage, state: "differs", note });
    }
  }
}

function coordinates(index: number, shape: readonly number[]): readonly number[] {
  const result: number[] = [];
  for (let axis = shape.length - 1, rest = index; axis >= 0; axis--) {
    const size = shape[axis] as number;
    result.unshift(rest % size);
    rest = Math.floor(rest / size);
  }
  return result;
}

/** The picture through the image processor. One step of 255 is what backends of one processor differ by. */
async function comparePixels(assistant: Assistant, { image }: Reference, stages: Stages): Promise<void> {
  if (stages.get("pixel_values") === undefined) return;
  if (image === undefined || !existsSync(image)) {
    stages.skip("preprocess", image === undefined ? "the reference names no picture" : `${image} is not there`);
    return;
  }
  const { data } = await assistant.image(image);
  stages.floats("preprocess", "pixel_values", data, await assistant.pixelStep());
}

/** The question through prompt format and tokenizer, placeholders repeated as the reference's processor does. */
async function comparePrompt(assistant: Assistant, { question, tensors }: Reference, stages: Stages): Promise<void> {
  if (question === undefined) {
    stages.skip("prompt", "the reference names no question");
    return;
  }
  const { image_token_id: imageToken, num_visual_features: features } = assistant.session.engine.manifest.model;
  const ids = await assistant.promptIds(question, tensors.has("pixel_values") ? 1 : 0, "auto");
  const repeated = ids.flatMap(id => (id === imageToken ? new Array<number>(features).fill(id) : [id]));
  stages.ids("prompt", repeated, stages.get("input_ids")?.data ?? []);
}

async function compareVision({ assistant, ort }: VerifyRequest, stages: Stages): Promise<Features | undefined> {
  const pixels = stages.get("pixel_values");
  const { visualPart } = assistant.session.engine;
  if (pixels === undefined || visualPart === undefined) return undefined;
  const graph = await openTapped(visualPart, ort);
  try {
    const features = await assistant.session.encodeImages(picturesOf(pixels), graph);
    stages.floats("vision", "vision", graph.firstValue("vision")?.data);
    stages.floats("projector", "projector", features.values);
    return features;
  } finally {
    await graph.close();
  }
}

function picturesOf({ shape, data }: ReferenceTensor): readonly PixelValues[] {
  const [count = 0, , height = 1, width = 1] = shape;
  const size = data.length / Math.max(1, count);
  return Array.from({ length: count }, (_, i) => ({
    height,
    width,
    data: Float32Array.from(data.subarray(i * size, (i + 1) * size)),
  }));
}

async function compareDecoder(
  { assistant, ort, signal }: VerifyRequest,
  stages: Stages,
  features: Features | undefined,
): Promise<void> {
  const { llm, llmPart, manifest } = assistant.session.engine;
  const ids = Array.from(stages.get("input_ids")?.data ?? []);
  const images = stages.get("pixel_values")?.shape[0] ?? 0;
  const { prompts, tableRows } = placeImages([{ ids, images }], manifest.model, "--reference");
  const longest = Math.max(1, ...["tokens", "tokens_free"].map(name => stages.get(name)?.data.length ?? 0));
  const graph = await openTapped(llmPart, ort);
  try {
    const decoder = new Decoder(graph, llm, manifest.model.num_visual_features);
    const size = { batch: 1, beams: 1, promptTokens: prompts[0]?.length ?? 0, newTokens: longest, tableRows };
    decoder.check(size, "--reference");
    const decoding = await decoder.prefill(prompts, features);
    compareLayers(graph, stages);
    stages.floats("logits", "logits", decoding.logits);
    const [free] = await searchTokens(decoding, [ids], { ...GENERATE_DEFAULTS, maxNewTokens: longest }, { signal });
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

/** Greedy tokens do not depend on where an answer ends, so one search serves both. */
function compareTokens(free: readonly number[], stages: Stages): void {
  for (const name of ["tokens", "tokens_free"]) {
    const expected = stages.get(name)?.data;
    if (expected === undefined) stages.skip(name, `the reference has no ${name}`);
    else stages.ids(name, free.slice(0, expected.length), expected);
  }
}

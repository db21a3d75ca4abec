import type { EnginePart } from "../../formats/engine-config.ts";
import { Decoder } from "../decoder.ts";
import type { Decoding } from "../decoding.ts";
import { type Encoder, encoderOf } from "../encoder.ts";
import { searchTokens } from "../generate/greedy.ts";
import { GENERATE_DEFAULTS } from "../generate/options.ts";
import { pairTokens } from "../generation-config.ts";
import type { OrtOptions } from "../ort.ts";
import { type PromptBatch, placeImages } from "../prompt.ts";
import type { Features } from "../prompt-table.ts";
import { openTappedRanks } from "../ranks/open.ts";
import type { RunnableEngine } from "../runnable.ts";
import type { TappedGraph } from "../tapped-graph.ts";
import { compareTokens, longestAnswer, type Stages } from "./stages.ts";

interface Pair {
  readonly engine: RunnableEngine;
  readonly stages: Stages;
  readonly signal: AbortSignal;
}

interface Graphs {
  readonly encoder: TappedGraph | undefined;
  readonly cross: TappedGraph;
  readonly decoder: TappedGraph;
}

/** Encoder, cross-attention keys and values, and decoder beside the reference's. */
export async function comparePair(pair: Pair, ort: OrtOptions, features: Features | undefined): Promise<void> {
  const { engine, signal } = pair;
  const known = Array.from(pair.stages.get("decoder_input_ids")?.data ?? []);
  const prompt = promptOf(pair);
  const opened: TappedGraph[] = [];
  const open = async (parts: readonly EnginePart[]): Promise<TappedGraph> => {
    const graph = await openTappedRanks(parts, engine.ranks, ort);
    opened.push(graph);
    return graph;
  };
  try {
    const { encoderParts, crossParts, llmParts } = engine;
    if (crossParts.length === 0) throw new Error("an encoder-decoder has a graph of cross keys and values");
    const encoder = encoderParts.length === 0 ? undefined : await open(encoderParts);
    const graphs: Graphs = { encoder, cross: await open(crossParts), decoder: await open(llmParts) };
    const half = await encoderOf(engine, graphs);
    pair.stages.ids("start token", [half.startToken], known.slice(0, 1));
    await compareStacks({ ...pair, graphs, half, prompt, known, features });
    signal.throwIfAborted();
  } finally {
    for (const graph of opened) await graph.close();
  }
}

interface Run extends Pair {
  readonly graphs: Graphs;
  readonly half: Encoder;
  readonly prompt: PromptBatch;
  /** What the decoder is given, the start token first. */
  readonly known: readonly number[];
  readonly features: Features | undefined;
}

async function compareStacks(run: Run): Promise<void> {
  const { engine, stages, graphs, half, prompt, known, features, signal } = run;
  const newTokens = longestAnswer(stages);
  const { prompts, tableRows } = prompt;
  const size = { batch: 1, beams: 1, newTokens: Math.max(newTokens, known.length), tableRows };
  half.check({ ...size, promptTokens: prompts[0]?.length || (features?.rows ?? 0) }, "--reference");
  const attended = await half.run(prompts, features);
  compareEncoder(run);
  compareCross(run);
  signal.throwIfAborted();
  const decoder = new Decoder(graphs.decoder, engine.llm, engine.manifest.model.num_visual_features);
  decoder.check({ ...size, promptTokens: 1, tableRows: 0 }, "--reference");
  // One token after the other: any engine takes that, and the cache is part of what is compared.
  const decoding = await decoder.prefill([known.slice(0, 1)], undefined, attended);
  compareDecoder(run, await decodeKnown(graphs.decoder, decoding, known));
  stages.floats("logits", "logits", decoding.logits);
  const forced = (await pairTokens(engine))?.forcedBosTokenId;
  const [free] = await searchTokens(
    await decoder.prefill([[half.startToken]], undefined, attended),
    [[half.startToken]],
    { ...GENERATE_DEFAULTS, maxNewTokens: newTokens, forcedBosTokenId: forced },
    { signal },
  );
  compareTokens(free?.tokenIds ?? [], stages);
}

/** Rows of every tap of the decoder, one a token. */
async function decodeKnown(
  graph: TappedGraph,
  decoding: Decoding,
  known: readonly number[],
): Promise<ReadonlyMap<string, Float32Array>> {
  const rows = new Map(graph.taps.map(tap => [tap, [graph.lastValue(tap)?.data ?? new Float32Array()]]));
  for (const id of known.slice(1)) {
    await decoding.step([id]);
    for (const [tap, values] of rows) values.push(graph.lastValue(tap)?.data ?? new Float32Array());
  }
  return new Map([...rows].map(([tap, values]) => [tap, Float32Array.from(values.flatMap(row => [...row]))]));
}

function compareEncoder({ graphs: { encoder }, engine, stages }: Run): void {
  if (encoder === undefined) return;
  const seesImages = engine.encoder?.io.some(({ name }) => name === "prompt_embedding_table") === true;
  for (const tap of encoder.taps) {
    const layer = /^encoder_layers\.(\d+)$/.exec(tap)?.[1];
    const stage = layer !== undefined ? `encoder layer ${layer}` : seesImages ? "prompt_table" : tap;
    stages.floats(stage, layer === undefined ? tap : `encoder_layer_${layer}`, encoder.firstValue(tap)?.data);
  }
  stages.floats("encoder_output", "encoder_output", encoder.firstValue("encoder_output")?.data);
}

function compareCross({ engine, graphs: { cross }, stages }: Run): void {
  if (engine.ranks.tpSize > 1) {
    stages.skip("cross keys and values", "each rank has those of its own heads");
    return;
  }
  for (const output of cross.outputs) {
    const [, part, layer] = /^cross_(key|value)_(\d+)$/.exec(output) ?? [];
    if (part !== undefined) stages.floats(`cross ${part} ${layer}`, output, cross.firstValue(output)?.data);
  }
}

function compareDecoder({ stages }: Run, rows: ReadonlyMap<string, Float32Array>): void {
  for (const [tap, values] of rows) {
    const layer = /^layers\.(\d+)$/.exec(tap)?.[1];
    if (layer !== undefined) stages.floats(`layer ${layer}`, `layer_${layer}`, values);
    else stages.floats("decoder_embeds", tap, values);
  }
}

/** What the encoder takes, image placeholders as rows of the prompt table; nothing where it is the image encoder. */
function promptOf({ engine: { manifest }, stages }: Pair): PromptBatch {
  if (manifest.model.encoder_decoder?.has_text_encoder === false) return { prompts: [[]], tableRows: 0 };
  const ids = Array.from(stages.get("input_ids")?.data ?? []);
  return placeImages([{ ids, images: stages.get("pixel_values")?.shape[0] ?? 0 }], manifest.model, "--reference");
}

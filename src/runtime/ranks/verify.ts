import type { Problem } from "../../diagnostics/index.ts";
import type { EnginePart } from "../../formats/engine-config.ts";
import { Decoder } from "../decoder.ts";
import type { Decoding } from "../decoding.ts";
import { type Encoder, encoderOf } from "../encoder.ts";
import { argmax } from "../generate/scores.ts";
import { NO_ADAPTER, openLoraBank } from "../lora/bank.ts";
import type { OrtGraph, OrtOptions } from "../ort.ts";
import { decoderOptions, type RunnableEngine } from "../runnable.ts";
import type { StageResult } from "../verify/stages.ts";
import { compareRun } from "./compare.ts";
import { openRanks } from "./open.ts";
import { type RankQuestion, rankQuestion } from "./question.ts";
import { type Watched, type WatchedRanks, watchRanks, watchWhole } from "./watch.ts";

export interface RanksRequest {
  /** Several ranks. */
  readonly ranked: RunnableEngine;
  /** The same model in one piece. */
  readonly whole: RunnableEngine;
  /** Of an element; by the engines' dtype when undefined. */
  readonly tolerance: number | undefined;
  /** Decode steps after the prompt; fewer where the engines have no room. */
  readonly steps: number;
  readonly ort: OrtOptions;
  readonly signal: AbortSignal;
}

/**
 * Runs all ranks and the model in one piece on the same seeded prompts, and compares sums, layers and logits: of the prompt,
 * then of each step, over the caches that both have grown. The next tokens are those of the model in one piece.
 * @throws MmtrtError NUM005 when the directories do not go together; RUN010, RUN011.
 */
export async function verifyRanks(request: RanksRequest): Promise<readonly StageResult[]> {
  const { ranked, whole, signal } = request;
  const question = rankQuestion(whole, ranked);
  const tolerance = request.tolerance ?? usualTolerance(whole);
  const opened = new Opened(request);
  try {
    const split = await opened.ranks(question);
    signal.throwIfAborted();
    const single = await opened.whole(question, split);
    const results: StageResult[] = [];
    if (split.encoder && single.encoder)
      results.push(...compareRun("encoder", split.encoder, single.encoder, tolerance));
    results.push(...compareRun("prompt", split.graph, single.graph, tolerance));
    for (let step = 1; step <= Math.min(request.steps, question.steps); step++) {
      signal.throwIfAborted();
      const tokens = likeliest(single.decoding);
      await single.decoding.step(tokens);
      await split.decoding.step(tokens);
      results.push(...compareRun(`step ${step}`, split.graph, single.graph, tolerance));
    }
    return results;
  } finally {
    await opened.close();
  }
}

/** A model under way: its decoder, and its encoder where it has one. */
interface Side<G extends Watched> {
  readonly graph: G;
  readonly encoder: G | undefined;
  readonly decoding: Decoding;
}

/** Opens both sides, and closes what was opened whatever happens. */
class Opened {
  readonly #request: RanksRequest;
  readonly #options: OrtOptions;
  readonly #graphs: OrtGraph[] = [];

  constructor(request: RanksRequest) {
    this.#request = request;
    this.#options = { ...decoderOptions(request.whole.llm, request.ort), exactProducts: true };
  }

  async ranks(question: RankQuestion): Promise<Side<WatchedRanks>> {
    const { ranked } = this.#request;
    const watch = (parts: readonly EnginePart[], layers: unknown): Promise<WatchedRanks> =>
      this.#keep(watchRanks(parts, ranked.ranks, Number(layers), this.#options));
    const encoder =
      ranked.encoder && (await watch(ranked.encoderParts, ranked.encoder.pretrained_config.num_hidden_layers));
    const graph = await watch(ranked.llmParts, ranked.llm.pretrained_config.num_hidden_layers);
    return { graph, encoder, decoding: await this.#start(ranked, graph, encoder, question) };
  }

  /** After the ranks have run: what they add up says which values of the model in one piece are looked at. */
  async whole(question: RankQuestion, split: Side<WatchedRanks>): Promise<Side<Watched>> {
    const { whole } = this.#request;
    const watch = (part: EnginePart, ranks: WatchedRanks): Promise<Watched> =>
      this.#keep(watchWhole(part, this.#options, ranks.sums));
    const [encoderPart] = whole.encoderParts;
    const encoder = encoderPart && split.encoder && (await watch(encoderPart, split.encoder));
    const graph = await watch(whole.llmPart, split.graph);
    return { graph, encoder, decoding: await this.#start(whole, graph, encoder, question) };
  }

  async close(): Promise<void> {
    for (const graph of this.#graphs) await graph.close();
  }

  async #start(
    engine: RunnableEngine,
    graph: OrtGraph,
    encoder: OrtGraph | undefined,
    { prompts, features }: RankQuestion,
  ): Promise<Decoding> {
    const decoder = new Decoder(graph, engine.llm, engine.manifest.model.num_visual_features);
    if (engine.manifest.model.encoder_decoder === undefined) {
      const bank = await openLoraBank(graph, engine.llm, {
        engineDir: engine.dir,
        dirs: undefined,
        at: "--engine_dir",
      });
      // The first item has an adapter, where there is one, and the others none.
      const tasks = prompts.map((_, item) => (item === 0 && bank?.names.length ? 0 : NO_ADAPTER));
      return decoder.prefill(prompts, features, bank?.rows(tasks));
    }
    const cross = await this.#keep(openRanks(engine.crossParts, engine.ranks, this.#options));
    const half: Encoder = await encoderOf(engine, { encoder, cross });
    const attended = await half.run(prompts, features);
    return decoder.prefill(
      prompts.map(() => [half.startToken]),
      undefined,
      attended,
    );
  }

  async #keep<G extends OrtGraph>(opening: Promise<G>): Promise<G> {
    const graph = await opening;
    this.#graphs.push(graph);
    return graph;
  }
}

/**
 * Rounding of the element type where the split changes no code. Codes of activations may fall on either side of a step. Other
 * codes depend on the split, as in TensorRT-LLM: scales of weights are of a rank's share unless they are of groups of inputs,
 * and scales of tokens are of the channels that a rank sees.
 */
function usualTolerance({ llm: { pretrained_config } }: RunnableEngine): number {
  const { quant_algo: algo, kv_cache_quant_algo: cache } = (pretrained_config.quantization ?? {}) as Quantization;
  if (/PER_TOKEN/.test(algo ?? "")) return 1e-1;
  if (/^W[48]A16$/.test(algo ?? "")) return 5e-2;
  const isRounding = (algo ?? null) === null || /^W4A16_/.test(algo ?? "");
  if (!isRounding || typeof cache === "string") return 2e-2;
  return pretrained_config.dtype === "float16" ? 2e-2 : 1e-4;
}

interface Quantization {
  readonly quant_algo?: string | null;
  readonly kv_cache_quant_algo?: string | null;
}

function likeliest({ logits, rows, vocab }: Decoding): readonly number[] {
  return Array.from({ length: rows }, (_, row) => argmax(logits.subarray(row * vocab, (row + 1) * vocab)));
}

/** @returns the problem that the first difference is. */
export function firstRankDifference(results: readonly StageResult[], dir: string): Problem | undefined {
  const first = results.find(({ state }) => state === "differs");
  if (first === undefined) return undefined;
  const { stage, difference, limit, index, note } = first;
  const numbers =
    difference === undefined
      ? note
      : `[${index?.join(", ")}] is ${difference.actual}, the model in one piece has ${difference.expected}; off by ${difference.worst.toExponential(2)} where ${limit?.toExponential(2)} is allowed`;
  return {
    code: "NUM006",
    what: `${stage} differs between the ranks and the model in one piece: ${numbers}`,
    at: `${dir}: ${stage}`,
    why: "what is computed before it is within tolerance, so the difference begins there",
    fix: "check that both directories come from one model and that no rank file was changed; convert again if one was",
  };
}

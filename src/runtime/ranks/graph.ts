import { availableParallelism } from "node:os";
import type { EnginePart } from "../../formats/engine-config.ts";
import type { Feeds, Fetches, OrtGraph, OrtOptions, Tensor } from "../ort.ts";
import { combine } from "./combine.ts";
import type { Collective } from "./cut.ts";
import { layersIn, outerName } from "./names.ts";
import { cutRank, loadRank, type Rank } from "./rank.ts";

/** How ranks are dealt out: rank = pp_rank · tp_size + tp_rank. */
export interface RankShape {
  readonly tpSize: number;
  readonly ppSize: number;
}

/** What is seen of a run, for comparing it with the model in one piece. */
export interface RankObserver {
  /** `stage` counts from 0; the result is every rank's. */
  collective?(stage: number, collective: Collective, result: Tensor): void;
  /** Outputs of one rank by their own names, and its taps by theirs. */
  rank?(rank: number, outputs: Fetches, taps: Fetches): void;
}

/** All ranks of one model in this process, behind the inputs and outputs of a model in one piece. */
export interface RankedGraph extends OrtGraph {
  readonly shape: RankShape;
}

/** Threads of all sessions together; most sleep, and each takes memory. */
const MOST_THREADS = 256;

/**
 * Loads the graphs of all ranks. They run in lock-step: each rank up to its next collective, then the sum or gather, then
 * on; pipeline stages one after the other. Keys and values are numbered as `outerName` says, other inputs go to every rank
 * that has them, and outputs come from the first rank of the last stage that gives them.
 * Errors: RUN011 and those of reading a file.
 */
export async function openRankedGraph(
  parts: readonly EnginePart[],
  shape: RankShape,
  options: OrtOptions,
  observer?: RankObserver,
): Promise<RankedGraph> {
  const cut = [];
  for (const part of parts) cut.push(await cutRank(part, observer?.rank !== undefined));
  const sessions = cut.reduce((sum, { segments }) => sum + segments.length, 0);
  const threads = options.threads || Math.max(1, Math.min(availableParallelism(), Math.floor(MOST_THREADS / sessions)));
  const ranks: Rank[] = [];
  try {
    for (const rank of cut) ranks.push(await loadRank(rank, { ...options, threads, oneOfMany: true }));
  } catch (error) {
    await closeAll(ranks);
    throw error;
  }
  return new LockStep(parts, shape, ranks, observer);
}

/** A rank with its place. */
interface Placed extends Rank {
  readonly at: number;
  /** Layers with keys and values of the ranks in front. */
  readonly before: number;
}

class LockStep implements RankedGraph {
  readonly file: string;
  readonly outputs: readonly string[];
  readonly shape: RankShape;
  readonly #ranks: readonly Placed[];
  readonly #observer: RankObserver | undefined;
  readonly #any: OrtGraph;

  constructor(
    parts: readonly EnginePart[],
    shape: RankShape,
    ranks: readonly Rank[],
    observer: RankObserver | undefined,
  ) {
    this.file = parts.map(({ onnx }) => onnx).join(", ");
    this.shape = shape;
    this.#observer = observer;
    let before = 0;
    this.#ranks = ranks.map((rank, at) => {
      const placed = { ...rank, at, before };
      before += layersIn([...rank.inputs, ...rank.outputs]);
      return placed;
    });
    const names = this.#ranks.flatMap(rank => rank.outputs.map(name => outerName(name, rank.before)));
    this.outputs = [...new Set(names)].filter(name => name !== HANDED_ON.output);
    this.#any = ranks.flatMap(({ segments }) => segments.flatMap(({ graph }) => graph ?? []))[0] as OrtGraph;
  }

  async run(feeds: Feeds): Promise<Fetches> {
    const { tpSize, ppSize } = this.shape;
    const fetched: Record<string, Tensor> = {};
    let handedOn: readonly (Tensor | undefined)[] = [];
    for (let stage = 0; stage < ppSize; stage++) {
      const ranks = this.#ranks.slice(stage * tpSize, (stage + 1) * tpSize);
      const given = ranks.map((rank, i) => this.#given(rank, feeds, handedOn[i]));
      const outputs = await this.#runStage(stage, ranks, given);
      handedOn = outputs.map(({ [HANDED_ON.output]: hidden }) => hidden);
      for (const [i, { before }] of ranks.entries()) {
        for (const [name, tensor] of Object.entries(outputs[i] ?? {}))
          if (name !== HANDED_ON.output) fetched[outerName(name, before)] ??= tensor;
      }
    }
    return fetched;
  }

  /** The inputs of a rank by its own names. */
  #given({ inputs, before, at }: Placed, feeds: Feeds, handedOn: Tensor | undefined): Map<string, Tensor> {
    // Adapters are shared out as the weights are, so each rank has its own under the same name.
    const tpRank = at % this.shape.tpSize;
    const given = inputs.flatMap(name => {
      const tensor =
        name === HANDED_ON.input ? handedOn : (feeds[`${name}@${tpRank}`] ?? feeds[outerName(name, before)]);
      return tensor === undefined ? [] : [[name, tensor] as const];
    });
    return new Map(given);
  }

  async #runStage(
    stage: number,
    ranks: readonly Placed[],
    values: readonly Map<string, Tensor>[],
  ): Promise<readonly Fetches[]> {
    const pieces = ranks[0]?.segments.length ?? 0;
    for (let piece = 0; piece < pieces; piece++) {
      for (const [i, rank] of ranks.entries()) await runPiece(rank, piece, values[i] as Map<string, Tensor>);
      this.#meet(stage, ranks, piece, values);
      for (const [i, rank] of ranks.entries())
        for (const name of rank.segments[piece]?.done ?? []) values[i]?.delete(name);
    }
    return ranks.map((rank, i) => this.#results(rank, values[i] as Map<string, Tensor>));
  }

  /** The collective after a piece: one result, for every rank. */
  #meet(stage: number, ranks: readonly Placed[], piece: number, values: readonly Map<string, Tensor>[]): void {
    const meetings = ranks.map(({ segments }) => segments[piece]?.ends);
    const [first] = meetings;
    if (meetings.some(other => other?.kind !== first?.kind || other?.node !== first?.node))
      throw new Error(`ranks of stage ${stage} meet at ${meetings.map(other => other?.node).join(" and ")}`);
    if (first === undefined) return;
    const shares = meetings.map((meeting, i) => givenValue(values[i] as Map<string, Tensor>, meeting?.input ?? ""));
    const result = combine(this.#any, first.kind, shares);
    this.#observer?.collective?.(stage, first, result);
    for (const [i, meeting] of meetings.entries()) values[i]?.set(meeting?.output ?? "", result);
  }

  #results({ at, outputs, taps }: Placed, values: Map<string, Tensor>): Fetches {
    const results = Object.fromEntries(outputs.map(name => [name, givenValue(values, name)]));
    this.#observer?.rank?.(
      at,
      results,
      Object.fromEntries([...taps].map(([tap, name]) => [tap, givenValue(values, name)])),
    );
    return results;
  }

  tensor(...given: Parameters<OrtGraph["tensor"]>): Tensor {
    return this.#any.tensor(...given);
  }

  close(): Promise<void> {
    return closeAll(this.#ranks);
  }
}

/** What a pipeline stage gives the next: each rank to the one in its place. */
const HANDED_ON = { output: "hidden_states_output", input: "hidden_states_input" } as const;

async function runPiece({ segments }: Rank, piece: number, values: Map<string, Tensor>): Promise<void> {
  const segment = segments[piece];
  if (segment?.graph === undefined) return;
  const feeds = Object.fromEntries(segment.inputs.map(name => [name, givenValue(values, name)]));
  for (const [name, tensor] of Object.entries(await segment.graph.run(feeds))) values.set(name, tensor);
}

function givenValue(values: ReadonlyMap<string, Tensor>, name: string): Tensor {
  const tensor = values.get(name);
  if (tensor === undefined) throw new Error(`${name} is asked for and was not fed`);
  return tensor;
}

async function closeAll(ranks: readonly Rank[]): Promise<void> {
  for (const { segments } of ranks) for (const { graph } of segments) await graph?.close();
}

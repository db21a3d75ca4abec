import { MmtrtError, type Problem } from "../diagnostics/index.ts";
import type { EngineProfile, ProfileRange, SizeRange } from "../formats/engine-config.ts";
import { dimNames, evaluateDim } from "../graph/dim.ts";
import type { Graph, Value } from "../graph/graph.ts";

/** Limits and opt points of a decoder's profiles. Lengths in tokens, `promptRows` in rows of the prompt table. */
export interface DecoderLimits {
  readonly maxBatchSize: number;
  readonly maxBeamWidth: number;
  readonly maxInputLen: number;
  readonly maxSeqLen: number;
  /** 0 when the graph has no prompt table. */
  readonly promptRows: number;
  /** Of an encoder-decoder: what the decoder attends to. */
  readonly encoderSeq?: SizeRange | undefined;
  readonly optBatchSize?: number | undefined;
  readonly optInputLen?: number | undefined;
  readonly optSeqLen?: number | undefined;
  /** Most tokens of each prompt in one call, the others being in the cache; undefined where a prompt is prefilled whole. */
  readonly contextPiece?: number | undefined;
  /** Adapters loaded at once, and their highest rank; absent where the graph takes none. */
  readonly lora?: { readonly maxLoras: number; readonly maxRank: number } | undefined;
  /** Of a paged cache. */
  readonly tokensPerBlock?: number | undefined;
  /** Several context profiles, split where TensorRT-LLM splits its token ranges. */
  readonly multipleProfiles?: boolean | undefined;
}

export type Sizes = Readonly<Record<string, SizeRange>>;

/** Where TensorRT-LLM's --multiple_profiles cuts the range of tokens. */
const TOKEN_SPLITS: readonly number[] = [64, 128, 256, 512, 1024];

/** (1, ⌈max/2⌉, max): TensorRT-LLM's range of every size that has no better guess. */
export function defaultRange(max: number, opt?: number): SizeRange {
  return { min: 1, opt: opt ?? Math.floor((max + 1) / 2), max };
}

/**
 * `context`: prompts of 1 … max_input_len tokens after what `pastOfPrompt` says, beams not yet apart, so batch counts sequences.
 * `generation`: one token a step after up to max_seq_len − 1 others; every beam is a row of the batch.
 * As profiles of one engine they share weights, and need no `If` in the graph.
 */
export function decoderProfiles(graph: Graph, limits: DecoderLimits): readonly EngineProfile[] {
  const rows = rowsOf(limits);
  const encoder_seq = limits.encoderSeq ?? fixed(1);
  const batch = defaultRange(limits.maxBatchSize, limits.optBatchSize);
  const beams = limits.maxBeamWidth;
  const rowsOfBatch = defaultRange(limits.maxBatchSize * beams, scaled(limits.optBatchSize, beams));
  const optTotal = limits.optSeqLen ?? Math.floor((limits.maxSeqLen + 1) / 2);
  const past = { min: 0, opt: optTotal - 1, max: limits.maxSeqLen - 1 };
  const contexts = contextRanges(limits).map(({ name, seq }) =>
    profileOf(name, graph.inputs, {
      batch,
      seq,
      past: pastOfPrompt(seq, limits),
      rows,
      encoder_seq,
      ...loraSizes(limits),
      ...pagedSizes(limits),
    }),
  );
  const generation = profileOf("generation", graph.inputs, {
    batch: rowsOfBatch,
    seq: fixed(1),
    past,
    rows,
    encoder_seq,
    ...loraSizes(limits),
    ...pagedSizes(limits),
  });
  return [...contexts, generation];
}

/** A prompt's earlier pieces, which are fewer tokens than the prompt; else nothing. */
function pastOfPrompt(seq: SizeRange, limits: DecoderLimits): SizeRange {
  const most = limits.maxInputLen - 1;
  if (limits.contextPiece === undefined || most === 0) return emptyCache(seq, limits);
  return { min: 0, opt: Math.floor(most / 2), max: most };
}

/**
 * No tokens before the prompt. Where a prompt can only be the start token of an encoder-decoder, one is allowed: past + seq
 * would have a single value, and TensorRT-RTX gives the cache's outputs the size that the first profile fixes.
 */
function emptyCache(seq: SizeRange, { maxSeqLen }: DecoderLimits): SizeRange {
  return seq.max === 1 ? { min: 0, opt: 0, max: Math.min(1, maxSeqLen - 1) } : fixed(0);
}

/**
 * The pool is made once, for every beam of the largest batch at full length and block 0, which is nobody's; a smaller one
 * serves fewer. A table is as wide as the longest sequence of its batch needs.
 */
function pagedSizes({ tokensPerBlock, maxSeqLen, maxBatchSize, maxBeamWidth }: DecoderLimits): Sizes {
  if (tokensPerBlock === undefined) return {};
  const longest = Math.ceil(maxSeqLen / tokensPerBlock);
  const pool = 1 + maxBatchSize * maxBeamWidth * longest;
  return { blocks: { min: 2, opt: pool, max: pool }, blocks_per_sequence: defaultRange(longest) };
}

/** One profile, of an encoder or of the graph behind it: it runs once a request, before beams come apart. */
export function encoderProfiles(graph: Graph, limits: DecoderLimits): readonly EngineProfile[] {
  const batch = defaultRange(limits.maxBatchSize, limits.optBatchSize);
  const encoder_seq = limits.encoderSeq ?? fixed(1);
  return [profileOf("encoder", graph.inputs, { batch, encoder_seq, rows: rowsOf(limits) })];
}

/** One more than adapters may be loaded, for "none"; one rank for all, which most requests have at its highest. */
function loraSizes({ lora }: DecoderLimits): Sizes {
  if (lora === undefined) return {};
  const { maxLoras, maxRank } = lora;
  return { adapters: defaultRange(maxLoras + 1), lora_rank: { min: 1, opt: maxRank, max: maxRank } };
}

function rowsOf({ promptRows }: DecoderLimits): SizeRange {
  return { min: 1, opt: Math.max(1, Math.floor(promptRows / 2)), max: Math.max(1, promptRows) };
}

/** One profile: batch (1, max(1, ⌊max/2⌋), max), the opt of TensorRT-LLM's visual engines. */
export function visualProfiles(graph: Graph, maxBatchSize: number, optBatchSize?: number): readonly EngineProfile[] {
  const opt = optBatchSize ?? Math.max(1, Math.floor(maxBatchSize / 2));
  return [profileOf("images", graph.inputs, { batch: { min: 1, opt, max: maxBatchSize } })];
}

/** The same of packed patches, whose pictures are of any sizes: as many features, pictures and windows as a call may have. */
export function packedProfiles(graph: Graph, most: Readonly<Record<string, number>>): readonly EngineProfile[] {
  const sizes = Object.entries(most).map(([dim, max]) => [dim, { min: 1, opt: Math.max(1, Math.floor(max / 2)), max }]);
  return [profileOf("images", graph.inputs, Object.fromEntries(sizes))];
}

/** Shapes of all inputs at min, opt and max, computed from the same named sizes: what depends on each other agrees. */
export function profileOf(name: string, inputs: readonly Value[], sizes: Sizes): EngineProfile {
  const used = new Set(inputs.flatMap(input => input.shape.flatMap(dimNames)));
  const missing = [...used].filter(dim => sizes[dim] === undefined);
  if (missing.length > 0) throw new Error(`profile ${name} gives no range for ${missing.join(", ")}`);
  const kept = Object.fromEntries(Object.entries(sizes).filter(([dim]) => used.has(dim)));
  const at = (input: Value, point: keyof SizeRange): number[] => {
    const values = Object.fromEntries(Object.entries(kept).map(([dim, range]) => [dim, range[point]]));
    return input.shape.map(dim => evaluateDim(dim, values));
  };
  const shapes = Object.fromEntries(
    inputs.map(input => [input.name, { min: at(input, "min"), opt: at(input, "opt"), max: at(input, "max") }]),
  );
  const profile = { name, sizes: kept, shapes };
  const problems = checkProfile(profile, inputs);
  if (problems.length > 0) throw new MmtrtError(problems);
  return profile;
}

/**
 * What TensorRT does not check, or only at opt: every graph input is there and no other, min ≤ opt ≤ max on each
 * axis, fixed axes are fixed, and axes of one name agree at all three points.
 */
export function checkProfile(profile: EngineProfile, inputs: readonly Value[]): readonly Problem[] {
  const problems: Problem[] = [];
  const report = (input: string, what: string, why: string, fix: string): void => {
    problems.push({ code: "BLD007", what, at: `profile ${profile.name}, input ${input}`, why, fix });
  };
  const known = new Map(inputs.map(input => [input.name, input]));
  for (const name of Object.keys(profile.shapes)) {
    if (known.has(name)) continue;
    report(name, `the graph has no input ${name}`, "TensorRT ignores unknown names in silence", `remove ${name}`);
  }
  for (const input of inputs) {
    const range = profile.shapes[input.name];
    if (range === undefined)
      report(input.name, `${input.name} has no range`, "every input needs one", `add a range for ${input.name}`);
    else checkRange(profile, input, range, report);
  }
  return problems;
}

type Report = (input: string, what: string, why: string, fix: string) => void;

function checkRange(profile: EngineProfile, input: Value, range: ProfileRange, report: Report): void {
  const rank = input.shape.length;
  if ([range.min, range.opt, range.max].some(shape => shape.length !== rank)) {
    report(
      input.name,
      `${input.name} has ${rank} axes and the profile another number`,
      "ranks must agree",
      "give a size for each axis",
    );
    return;
  }
  for (const [axis, dim] of input.shape.entries()) {
    const [min, opt, max] = [range.min[axis]!, range.opt[axis]!, range.max[axis]!];
    if (!(min >= 0 && min <= opt && opt <= max)) {
      report(
        input.name,
        `axis ${axis} (${dim}) has min ${min}, opt ${opt}, max ${max}`,
        "TensorRT wants 0 ≤ min ≤ opt ≤ max",
        "raise the limit that gives max, or lower the opt point",
      );
    }
    for (const point of ["min", "opt", "max"] as const) {
      const expected = sizeAt(profile.sizes, dim, point);
      const seen = range[point][axis]!;
      if (expected === undefined || expected === seen) continue;
      report(
        input.name,
        `axis ${axis} (${dim}) is ${seen} at ${point}; expected ${expected}`,
        "sizes that depend on each other must agree at min, opt and max",
        `make it ${expected}`,
      );
    }
  }
}

/** What a size of the graph is at one point of a profile; undefined where the profile does not give all its names. */
export function sizeAt(sizes: Sizes, dim: number | string, point: keyof SizeRange): number | undefined {
  const names = dimNames(dim);
  if (names.some(name => sizes[name] === undefined)) return undefined;
  return evaluateDim(dim, Object.fromEntries(names.map(name => [name, sizes[name]![point]])));
}

function contextRanges(limits: DecoderLimits): readonly { name: string; seq: SizeRange }[] {
  const max = limits.contextPiece ?? limits.maxInputLen;
  if (limits.multipleProfiles !== true) return [{ name: "context", seq: defaultRange(max, limits.optInputLen) }];
  return splitTokens(max).map(seq => ({ name: `context_${seq.max}`, seq }));
}

/** [1,64,64], [64,128,128], …, [last split, max, max]. */
export function splitTokens(max: number): readonly SizeRange[] {
  const ends = [...TOKEN_SPLITS.filter(split => split < max), max];
  return ends.map((end, i) => ({ min: ends[i - 1] ?? 1, opt: end, max: end }));
}

function fixed(size: number): SizeRange {
  return { min: size, opt: size, max: size };
}

function scaled(size: number | undefined, factor: number): number | undefined {
  return size === undefined ? undefined : size * factor;
}

import type { Problem } from "../../diagnostics/index.ts";
import type { EngineIo, EngineProfile, LlmEngineConfig } from "../../formats/engine-config.ts";
import type { EngineDir } from "../../formats/engine-dir.ts";
import { dimNames, evaluateDim } from "../../graph/dim.ts";
import { blockTokensOf } from "../../runtime/calls.ts";
import { checkPromptLength, longestPiece, promptCalls } from "../../runtime/pieces.ts";
import { checkCapacity, checkProfiles, type InputShapes, staticCapacity } from "../../runtime/profiles.ts";
import { DTYPES, elementCount } from "../../tensor/index.ts";

/** A request as far as the user said it; the rest is taken as one sequence, an image where the model takes one, one token. */
export interface FitRequest {
  readonly batch_size?: number | undefined;
  readonly num_beams?: number | undefined;
  /** Tokens of the longest prompt, visual features included. */
  readonly input_len?: number | undefined;
  /** Of each prompt. */
  readonly images?: number | undefined;
  readonly max_new_tokens?: number | undefined;
}

export interface FitLimits {
  readonly batch_size: number;
  readonly num_beams: number;
  readonly input_len: number;
  /** Images of each prompt. */
  readonly images: number;
  readonly max_new_tokens: number;
  /** Prompt and answer together. */
  readonly seq_len: number;
  /** Rows of the prompt table: visual features of the whole batch. */
  readonly rows: number;
}

export interface Fit {
  /** What is asked for, every number filled in; undefined when nothing is. */
  readonly request: Required<{ readonly [K in keyof FitRequest]: number }> | undefined;
  /** The most the engine takes of each, while the others are as asked for, or else at their least. */
  readonly limits: FitLimits;
  readonly problems: readonly Problem[];
  /** Inputs and outputs of the largest step, in bytes, of which the cache grows with every token. */
  readonly needs: { readonly io_bytes: number; readonly cache_bytes: number } | undefined;
}

/** Whether the language engine's profiles take a request, what limits it, and what they take at most. */
export function fitOf({ manifest }: EngineDir, llm: LlmEngineConfig, asked: FitRequest): Fit {
  const features = manifest.model.num_visual_features;
  const limits = limitsOf(llm, features, asked);
  const said = Object.values(asked).some(value => value !== undefined);
  if (!said) return { request: undefined, limits, problems: [], needs: undefined };
  const { batch_size = 1, num_beams = 1, max_new_tokens = 1 } = asked;
  const images = asked.images ?? (features > 0 ? 1 : 0);
  const input_len = asked.input_len ?? Math.max(1, images * features);
  const request = { batch_size, num_beams, input_len, images, max_new_tokens };
  const rows = Math.max(1, batch_size * images * features);
  const block = blockTokensOf(llm);
  const prefills = promptCalls(input_len, longestPiece(llm)).map(({ seq, past }) => ({
    seq,
    rows,
    ...cacheSizes(batch_size, seq, past, block),
  }));
  // The last token of an answer is not fed back, so a step sees one less than prompt and answer have.
  const last = { seq: 1, rows, ...cacheSizes(batch_size * num_beams, 1, input_len + max_new_tokens - 2, block) };
  const [context, generation] = profilesOf(llm);
  const inputs = llm.io.filter(({ kind }) => kind === "input");
  const at = "the request (--batch_size, --input_len, --images, --max_new_tokens, --num_beams)";
  const problems = [
    ...imageProblems(request, features, at),
    ...checkPromptLength(llm, input_len, at),
    ...prefills.flatMap(prefill => checkProfiles(context, llm.io, shapesOf(inputs, prefill), at)),
    ...(max_new_tokens > 1 ? checkProfiles(generation, llm.io, shapesOf(inputs, last), at) : []),
    ...checkCapacity(llm.io, input_len + max_new_tokens - 1, at),
  ];
  const steps = max_new_tokens > 1 ? [...prefills, last] : prefills;
  const io_bytes = Math.max(...steps.map(sizes => bytesOf(llm.io, sizes)));
  const caches = llm.io.filter(({ name }) => /^(past|present|cache)_(key|value)_\d+(_out)?$/.test(name));
  const cache_bytes = Math.max(...steps.map(sizes => bytesOf(caches, sizes)));
  return { request, limits, problems: unique(problems), needs: { io_bytes, cache_bytes } };
}

/** Of either kind of cache: a paged one has a table of blocks, and a pool with one that is nobody's. */
function cacheSizes(batch: number, seq: number, past: number, blockTokens: number) {
  const blocks_per_sequence = Math.ceil((past + seq) / blockTokens);
  return { batch, past, blocks_per_sequence, blocks: 1 + batch * blocks_per_sequence };
}

function profilesOf({ profiles }: LlmEngineConfig): readonly [readonly EngineProfile[], readonly EngineProfile[]] {
  const isContext = ({ name }: EngineProfile): boolean => name.startsWith("context");
  return [profiles.filter(isContext), profiles.filter(profile => !isContext(profile))];
}

/** Profiles are boxes, so each limit stands alone but for images, which take prompt tokens and rows of the shared table. */
function limitsOf(llm: LlmEngineConfig, features: number, asked: FitRequest): FitLimits {
  const [context, generation] = profilesOf(llm);
  const most = (profiles: readonly EngineProfile[], dim: string): number =>
    Math.max(0, ...profiles.map(({ sizes }) => sizes[dim]?.max ?? 0));
  const { batch_size = 1, num_beams = 1, images = features > 0 ? 1 : 0 } = asked;
  const { max_input_len: inPieces } = llm.build_config;
  const input_len = Number.isFinite(longestPiece(llm)) ? inPieces : most(context, "seq");
  const paged = most(generation, "blocks_per_sequence") * blockTokensOf(llm);
  const seq_len = staticCapacity(llm.io) ?? (paged > 0 ? paged : most(generation, "past") + 1);
  const rows = takesImages(llm) ? most(context, "rows") : 0;
  const perPrompt =
    features > 0 ? Math.min(rows / (batch_size * features), (asked.input_len ?? input_len) / features) : 0;
  const byRows = images * features > 0 ? rows / (images * features) : Number.POSITIVE_INFINITY;
  const byBeams = most(generation, "batch") / num_beams;
  const batch = Math.floor(Math.min(most(context, "batch"), byBeams, byRows));
  return {
    batch_size: batch,
    num_beams: Math.floor(most(generation, "batch") / batch_size),
    input_len,
    images: Math.floor(perPrompt),
    max_new_tokens: Math.max(0, seq_len + 1 - (asked.input_len ?? Math.max(1, images * features))),
    seq_len,
    rows,
  };
}

function takesImages({ io }: LlmEngineConfig): boolean {
  return io.some(({ name }) => name === "prompt_embedding_table");
}

function imageProblems(
  { images, input_len }: NonNullable<Fit["request"]>,
  features: number,
  at: string,
): readonly Problem[] {
  if (images * features <= input_len) return [];
  return [
    {
      code: "RUN010",
      what: `input_len ${input_len} does not hold ${images} ${images === 1 ? "image" : "images"} of ${features} visual features`,
      at,
      why: "a prompt's tokens are counted with the visual features of its images",
      fix: `--input_len ${images * features} and the text's tokens, or fewer images`,
    },
  ];
}

function shapesOf(io: readonly EngineIo[], sizes: Readonly<Record<string, number>>): InputShapes {
  return Object.fromEntries(io.map(({ name, dims }) => [name, dims.map(dim => sizeOf(dim, sizes))]));
}

/** A name that is not of the contract counts as 1: profiles still judge it. */
function sizeOf(dim: number | string, sizes: Readonly<Record<string, number>>): number {
  const known = Object.fromEntries(dimNames(dim).map(name => [name, sizes[name] ?? 1]));
  return evaluateDim(dim, known);
}

function bytesOf(io: readonly EngineIo[], sizes: Readonly<Record<string, number>>): number {
  return io.reduce(
    (total, { dtype, dims }) =>
      total + Math.ceil((elementCount(dims.map(dim => sizeOf(dim, sizes))) * DTYPES[dtype].bits) / 8),
    0,
  );
}

/** Prefill and last step often break one limit, and several inputs one flag: what to do about it is said once. */
function unique(problems: readonly Problem[]): readonly Problem[] {
  return problems.filter(({ fix }, i) => problems.findIndex(other => other.fix === fix) === i);
}

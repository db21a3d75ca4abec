import { type Problem, throwIfAny } from "../diagnostics/index.ts";
import type { DealLimits } from "../models/architecture.ts";
import type { KnownModel } from "../models/registry.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { encoderSizes } from "./map.ts";
import type { Parallel } from "./shard.ts";

/** Where the user wrote an option, for messages. */
export type Origin = (key: string) => string;

/**
 * How the model is dealt out: the options less what it cannot have, which is warned about.
 * Errors: CKP052–CKP054 where it cannot be dealt out as asked.
 */
export function dealtOut(
  { architecture, spec }: Pick<KnownModel, "architecture" | "spec">,
  asked: Parallel,
  origin: Origin,
): { readonly parallel: Parallel; readonly warnings: readonly Problem[] } {
  const limits = architecture.limits?.(spec) ?? {};
  const dealt = withinLimits(asked, limits, origin);
  const encoder = encoderSizes(spec);
  throwIfAny([
    ...parallelProblems(spec.language, dealt.parallel, limits, origin),
    ...(encoder ? encoderProblems(encoder, dealt.parallel, origin) : []),
  ]);
  return dealt;
}

/** The options as far as the model can have them: a table that cannot be split or shared is not, which changes no number. */
export function withinLimits(
  parallel: Parallel,
  { plainEmbedding }: DealLimits,
  origin: Origin,
): { readonly parallel: Parallel; readonly warnings: Problem[] } {
  if (plainEmbedding === undefined) return { parallel, warnings: [] };
  const asked = [
    ...(parallel.parallelEmbedding ? ["use_parallel_embedding"] : []),
    ...(parallel.shareEmbedding ? ["use_embedding_sharing"] : []),
  ];
  const warnings = asked.map(
    (key): Problem => ({
      code: "CKP058",
      what: `${key} has no effect on this model`,
      at: origin(key),
      why: plainEmbedding,
      fix: `leave out --${key}`,
    }),
  );
  return { parallel: { ...parallel, parallelEmbedding: false, shareEmbedding: false }, warnings };
}

/** What keeps the model from being dealt out as asked; empty when it can be. */
export function parallelProblems(spec: DecoderSpec, parallel: Parallel, limits: DealLimits, origin: Origin): Problem[] {
  return [
    ...tpProblems(spec, parallel, origin),
    ...vocabularyProblems(spec, parallel, limits, origin),
    ...ppProblems(spec, parallel, limits, origin),
    ...sharingProblems(spec, parallel, origin),
  ];
}

/** The same for the text encoder of an encoder-decoder, less what is said of the decoder already. */
export function encoderProblems(encoder: DecoderSpec, parallel: Parallel, origin: Origin): Problem[] {
  const problems = [...tpProblems(encoder, parallel, origin), ...ppProblems(encoder, parallel, {}, origin)];
  return problems.map(problem => ({ ...problem, what: `${problem.what} of the encoder` }));
}

function vocabularyProblems(
  { vocabSize }: DecoderSpec,
  { tpSize }: Parallel,
  { unpaddedVocabulary }: DealLimits,
  origin: Origin,
): Problem[] {
  if (unpaddedVocabulary === undefined || vocabSize % tpSize === 0) return [];
  return [
    {
      code: "CKP052",
      what: `tp_size ${tpSize} does not divide vocab_size ${vocabSize}`,
      at: origin("tp_size"),
      why: unpaddedVocabulary,
      fix: `--tp_size ${divisors(vocabSize)
        .filter(tp => tp <= 64)
        .join(", ")}`,
    },
  ];
}

function tpProblems(
  spec: DecoderSpec,
  { tpSize, parallelEmbedding, embeddingShardingDim }: Parallel,
  origin: Origin,
): Problem[] {
  const fits = (tp: number): boolean =>
    spec.heads % tp === 0 && kvFits(spec.kvHeads, tp) && spec.intermediateSize % tp === 0;
  const usable = divisors(spec.heads).filter(fits);
  const bad = (what: string, why: string, fix = `--tp_size ${usable.join(", ")}`): Problem => ({
    code: "CKP052",
    what,
    at: origin("tp_size"),
    why,
    fix,
  });
  const problems: Problem[] = [];
  if (spec.heads % tpSize !== 0)
    problems.push(
      bad(
        `tp_size ${tpSize} does not divide the ${spec.heads} attention heads`,
        "each rank computes whole attention heads",
      ),
    );
  if (!kvFits(spec.kvHeads, tpSize))
    problems.push(
      bad(
        `tp_size ${tpSize} does not fit ${spec.kvHeads} key/value heads`,
        "a rank holds whole KV heads or one whole copy of one; part of a head cannot be attended to",
      ),
    );
  if (spec.intermediateSize % tpSize !== 0)
    problems.push(
      bad(
        `tp_size ${tpSize} does not divide intermediate_size ${spec.intermediateSize}`,
        "the MLP's channels are split evenly among the ranks",
      ),
    );
  if (parallelEmbedding && embeddingShardingDim === 1 && spec.hiddenSize % tpSize !== 0) {
    problems.push(
      bad(
        `tp_size ${tpSize} does not divide hidden_size ${spec.hiddenSize}`,
        "embedding_sharding_dim 1 splits the hidden channels of the embedding table evenly",
        "--embedding_sharding_dim 0",
      ),
    );
  }
  return problems;
}

function kvFits(kvHeads: number, tp: number): boolean {
  return kvHeads % tp === 0 || tp % kvHeads === 0;
}

function ppProblems(
  spec: DecoderSpec,
  { ppSize }: Parallel,
  { onePipelineStage, firstStageLayers: first }: DealLimits,
  origin: Origin,
): Problem[] {
  if (ppSize > 1 && onePipelineStage !== undefined) {
    return [
      {
        code: "CKP053",
        what: `pp_size ${ppSize} is asked for; a ${spec.architecture} has one pipeline stage`,
        at: origin("pp_size"),
        why: onePipelineStage,
        fix: "--pp_size 1, with a larger --tp_size where the weights must be spread",
      },
    ];
  }
  if (spec.layers % ppSize === 0) {
    if (first === undefined || ppSize === 1 || spec.layers / ppSize >= first.least) return [];
    const most = Math.max(...divisors(spec.layers).filter(size => spec.layers / size >= first.least));
    return [
      {
        code: "CKP053",
        what: `pp_size ${ppSize} puts ${spec.layers / ppSize} of the layers on the first stage; it must have ${first.least}`,
        at: origin("pp_size"),
        why: first.why,
        fix: `--pp_size ${most}, with a larger --tp_size where the weights must be spread`,
      },
    ];
  }
  return [
    {
      code: "CKP053",
      what: `pp_size ${ppSize} does not divide the ${spec.layers} layers`,
      at: origin("pp_size"),
      why: "every pipeline stage holds the same number of layers; TensorRT-LLM's converter drops the rest in silence",
      fix: `--pp_size ${divisors(spec.layers).join(", ")}`,
    },
  ];
}

function sharingProblems(
  spec: DecoderSpec,
  { shareEmbedding, ppSize, tpSize, parallelEmbedding, embeddingShardingDim }: Parallel,
  origin: Origin,
): Problem[] {
  if (!shareEmbedding) return [];
  const bad = (what: string, why: string, fix: string): Problem => ({
    code: "CKP054",
    what,
    at: origin("use_embedding_sharing"),
    why,
    fix,
  });
  const problems: Problem[] = [];
  if (!spec.tiedEmbeddings)
    problems.push(
      bad(
        "use_embedding_sharing is set, but the model's lm_head is a tensor of its own",
        "one table cannot stand for two different ones",
        "leave out --use_embedding_sharing",
      ),
    );
  if (ppSize > 1)
    problems.push(
      bad(
        `use_embedding_sharing does not go with pp_size ${ppSize}`,
        "the embedding table is on the first pipeline stage and lm_head on the last",
        "--pp_size 1, or leave out --use_embedding_sharing",
      ),
    );
  if (tpSize > 1 && !(parallelEmbedding && embeddingShardingDim === 0)) {
    problems.push(
      bad(
        `use_embedding_sharing with tp_size ${tpSize} needs the embedding table split by rows`,
        "lm_head is split by rows of the vocabulary, and a shared table must be split alike",
        "--use_parallel_embedding --embedding_sharding_dim 0",
      ),
    );
  }
  return problems;
}

function divisors(n: number): number[] {
  return Array.from({ length: Math.min(n, 1024) }, (_, i) => i + 1).filter(d => n % d === 0);
}

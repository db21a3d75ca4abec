import { fail } from "../../diagnostics/index.ts";
import { blockTokensOf } from "../calls.ts";
import type { OrtGraph } from "../ort.ts";
import type { RunnableEngine } from "../runnable.ts";
import { HostBlocks, PageBlocks } from "./block-store.ts";
import { FeatureCache } from "./feature-cache.ts";
import { PrefixCache } from "./prefix-cache.ts";

export interface Reuse {
  readonly prefixes: PrefixCache;
  readonly features: FeatureCache;
}

/**
 * Share of the budget that visual features get: a feature is one vector of hidden_size, its keys and values are
 * 2 × layers × kv_heads × head_dim numbers, 16 times as many or more in published models.
 */
const FEATURE_SHARE = 1 / 16;

/**
 * What is kept between the requests of a session, `budget` bytes at most.
 * @throws MmtrtError RUN032 for an engine that cannot continue a prompt; RUN033 when not even one block would be kept.
 */
export function openReuse({ dir, llm, manifest }: RunnableEngine, graph: OrtGraph, budget: number): Reuse {
  if (manifest.model.encoder_decoder !== undefined) isPair(manifest.model.architecture);
  if (llm.spans === "prompt") seesAhead(manifest.model.architecture);
  if (llm.build_config.plugin_config.use_paged_context_fmha !== true) readsNoCache(dir);
  const tokens = blockTokensOf(llm);
  const isPaged = llm.build_config.kv_cache_type === "paged";
  const blocks = isPaged ? new PageBlocks(graph, llm.io, tokens) : new HostBlocks(llm.io, tokens);
  const share = manifest.model.num_visual_features > 0 ? FEATURE_SHARE : 0;
  const features = Math.floor(budget * share);
  if (budget - features < blocks.bytes) tooSmall(budget, blocks, Math.ceil(blocks.bytes / (1 - share)));
  return {
    prefixes: new PrefixCache(blocks, budget - features, manifest.model.vocab_size),
    features: new FeatureCache(features),
  };
}

function isPair(architecture: string): never {
  return fail({
    code: "RUN032",
    what: `--enable_kv_cache_reuse is given; ${architecture} is an encoder-decoder`,
    at: "--enable_kv_cache_reuse",
    why: "its prompt goes through the encoder, where every token sees those after it: no beginning stands for itself",
    fix: "leave out --enable_kv_cache_reuse",
  });
}

function seesAhead(architecture: string): never {
  return fail({
    code: "RUN032",
    what: `--enable_kv_cache_reuse is given; every token of a prompt of ${architecture} sees those after it`,
    at: "--enable_kv_cache_reuse",
    why: "keys and values of a prompt's beginning depend on how it goes on: no beginning stands for itself",
    fix: "leave out --enable_kv_cache_reuse",
  });
}

function readsNoCache(dir: string): never {
  return fail({
    code: "RUN032",
    what: `${dir} was built without --use_paged_context_fmha, so its prefill starts from an empty cache`,
    at: "--enable_kv_cache_reuse",
    why: "a prompt whose beginning is known is continued behind it, and the context profile has no size for that",
    fix: "mmtrt build --use_paged_context_fmha, or leave out --enable_kv_cache_reuse",
  });
}

function tooSmall(budget: number, { bytes, tokens }: HostBlocks | PageBlocks, needed: number): never {
  return fail({
    code: "RUN033",
    what: `kv_cache_reuse_size ${budget}B holds no block of ${bytes} bytes; expected at least ${needed}B`,
    at: "--kv_cache_reuse_size",
    why: `keys and values are kept in blocks of tokens_per_block ${tokens} tokens over all layers${needed > bytes ? ", and a part of the budget is for visual features" : ""}`,
    fix: `--kv_cache_reuse_size ${needed}B or more, or an engine built with fewer --tokens_per_block`,
  });
}

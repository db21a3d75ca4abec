import { bytesOf } from "./bytes.ts";
import type { MemoryInput, MemoryItem } from "./types.ts";

/** tokens × layers × 2 (key and value) × kv_heads × head_dim × bytes: what the cache of so many tokens takes. */
export function kvCacheBytes(cache: {
  readonly tokens: number;
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly bytes: number;
}): number {
  return cache.tokens * cache.layers * 2 * cache.kvHeads * cache.headDim * cache.bytes;
}

/** Whole key/value heads of a rank; where there are fewer heads than ranks, each has a copy of one. */
export function kvHeadsOf({ language, tpSize }: Pick<MemoryInput, "language" | "tpSize">): number {
  return Math.max(1, Math.ceil(language.kvHeads / tpSize));
}

/** Keys and values of every token that a full batch may have, and of what an encoder gave. */
export function cacheItems(input: MemoryInput): MemoryItem[] {
  const { cacheType, encoderLen = 0, maxSeqLen, tokensPerBlock } = input;
  const blocks = Math.ceil(maxSeqLen / tokensPerBlock);
  const [length, text] =
    cacheType === "paged"
      ? [blocks * tokensPerBlock, `(blocks ${blocks} × tokens_per_block ${tokensPerBlock})`]
      : [maxSeqLen, `max_seq_len ${maxSeqLen}`];
  const [bytes, formula] = cacheOf(input, length, text);
  const items: MemoryItem[] = [{ what: "kv_cache", bytes, formula }];
  if (cacheType === "continuous")
    items.push({ what: "kv_cache_step", bytes, formula: "a step's present_* lie beside the past_* they extend" });
  if (encoderLen === 0) return items;
  // The encoder's keys and values in every layer of the decoder, made once a request.
  const [cross, crossFormula] = cacheOf(input, encoderLen, `max_encoder_input_len ${encoderLen}`);
  return [...items, { what: "cross_kv_cache", bytes: cross, formula: crossFormula }];
}

/** TensorRT-LLM's: batch × beams × 2 × kv_heads × length × head_dim × layers × itemsize. */
function cacheOf(input: MemoryInput, length: number, lengthText: string): [bytes: number, formula: string] {
  const { language, ppSize, maxBatchSize, maxBeamWidth } = input;
  const kvHeads = kvHeadsOf(input);
  const layers = language.layers / ppSize;
  const bytes = bytesOf(input.kvDtype);
  const tokens = maxBatchSize * maxBeamWidth * length;
  return [
    kvCacheBytes({ tokens, layers, kvHeads, headDim: language.headDim, bytes }),
    `batch ${maxBatchSize} × beams ${maxBeamWidth} × 2 × kv_heads ${kvHeads} × ${lengthText} × head_dim ${language.headDim} × layers ${layers} × ${bytes} B`,
  ];
}

import type { Problem } from "../diagnostics/index.ts";
import type { DecoderSpec, SwinSpec, VisionSpec } from "../models/spec.ts";
import { showBytes } from "../rules/rule.ts";
import { DTYPES, type Dtype } from "../tensor/index.ts";
import type { Gpu } from "./gpus.ts";

/** One line of the account. Bytes on one GPU; the formula has the numbers that were put in. */
export interface MemoryItem {
  readonly what:
    | "weights"
    | "kv_cache"
    | "kv_cache_step"
    | "cross_kv_cache"
    | "activations"
    | "prompt_table"
    | "visual_weights"
    | "visual_activations";
  readonly bytes: number;
  readonly formula: string;
}

export interface RankMemory {
  readonly rank: number;
  readonly items: readonly MemoryItem[];
  readonly total: number;
}

export interface MemoryAccount {
  readonly ranks: readonly RankMemory[];
  /** The fullest GPU, which decides whether the plan fits. */
  readonly peak: number;
  /** (model + KV + activation) / parallelism over all GPUs: the average, for comparing plans. */
  readonly average: number;
}

export interface MemoryInput {
  readonly language: DecoderSpec;
  readonly vision?: VisionSpec | undefined;
  /** The image encoder where it is a Swin. */
  readonly swin?: SwinSpec | undefined;
  readonly tpSize: number;
  readonly ppSize: number;
  readonly maxBatchSize: number;
  readonly maxBeamWidth: number;
  readonly maxInputLen: number;
  readonly maxSeqLen: number;
  readonly promptRows: number;
  /** Rows of an encoder's output that the decoder attends to; absent or 0 without an encoder. */
  readonly encoderLen?: number;
  readonly computeDtype: Dtype;
  readonly kvDtype: Dtype;
  /** Bytes of each rank's weights as loaded (bfloat16 widened to float32 counts double). */
  readonly rankWeights: readonly number[];
  readonly visualWeights: number;
  /** Attention that writes its scores to memory: ONNX Runtime's CPU kernel. TensorRT's fused kernels keep them on chip. */
  readonly scoresInMemory: boolean;
  /** The step's present_* tensors lie beside past_*: true for the concatenated cache. */
  readonly cacheIsCopied: boolean;
}

export function bytesOf(dtype: Dtype): number {
  return DTYPES[dtype].bits / 8;
}

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

/** (model + KV + activation) / parallelism, in the unit of its arguments. */
export function averagePerGpu(model: number, kv: number, activation: number, parallelism: number): number {
  return (model + kv + activation) / parallelism;
}

export function memoryAccount(input: MemoryInput): MemoryAccount {
  const ranks = input.rankWeights.map((weights, rank) => {
    const items = [...languageItems(input, rank, weights), ...visualItems(input)];
    return { rank, items, total: sum(items.map(item => item.bytes)) };
  });
  const of = (...names: readonly MemoryItem["what"][]): number =>
    sum(ranks.flatMap(rank => rank.items.filter(item => names.includes(item.what)).map(item => item.bytes)));
  return {
    ranks,
    peak: Math.max(...ranks.map(rank => rank.total)),
    average: averagePerGpu(
      of("weights", "visual_weights"),
      of("kv_cache", "kv_cache_step", "cross_kv_cache"),
      of("activations", "visual_activations", "prompt_table"),
      ranks.length,
    ),
  };
}

function languageItems(input: MemoryInput, rank: number, weights: number): MemoryItem[] {
  const { language, tpSize, ppSize, maxBatchSize, maxBeamWidth, maxSeqLen, promptRows } = input;
  const kvHeads = Math.max(1, Math.ceil(language.kvHeads / tpSize));
  const layers = language.layers / ppSize;
  const rows = maxBatchSize * maxBeamWidth;
  const kvBytes = bytesOf(input.kvDtype);
  const kv = kvCacheBytes({ tokens: rows * maxSeqLen, layers, kvHeads, headDim: language.headDim, bytes: kvBytes });
  const c = bytesOf(input.computeDtype);
  const items: MemoryItem[] = [
    { what: "weights", bytes: weights, formula: `rank${rank}.safetensors as loaded` },
    {
      what: "kv_cache",
      bytes: kv,
      formula: `batch ${maxBatchSize} × beams ${maxBeamWidth} × 2 × kv_heads ${kvHeads} × max_seq_len ${maxSeqLen} × head_dim ${language.headDim} × layers ${layers} × ${kvBytes} B`,
    },
  ];
  if (input.cacheIsCopied)
    items.push({ what: "kv_cache_step", bytes: kv, formula: "a step's present_* lie beside the past_* they extend" });
  if (input.encoderLen) items.push(crossCache(input, input.encoderLen, layers, kvHeads));
  items.push(activations(input, rank));
  if (promptRows > 0 && rank < tpSize)
    items.push({
      what: "prompt_table",
      bytes: promptRows * language.hiddenSize * c,
      formula: `rows ${promptRows} × hidden ${language.hiddenSize} × ${c} B`,
    });
  return items;
}

/** The encoder's keys and values in every layer of the decoder, made once a request. */
function crossCache(input: MemoryInput, length: number, layers: number, kvHeads: number): MemoryItem {
  const { language, maxBatchSize, maxBeamWidth } = input;
  const bytes = bytesOf(input.kvDtype);
  const tokens = maxBatchSize * maxBeamWidth * length;
  return {
    what: "cross_kv_cache",
    bytes: kvCacheBytes({ tokens, layers, kvHeads, headDim: language.headDim, bytes }),
    formula: `batch ${maxBatchSize} × beams ${maxBeamWidth} × 2 × kv_heads ${kvHeads} × max_encoder_input_len ${length} × head_dim ${language.headDim} × layers ${layers} × ${bytes} B`,
  };
}

/**
 * Upper bound of what lives at once in the widest layer, since buffers are reused from layer to layer:
 *   tokens × [2 hidden (residual, normed) + max(attention, MLP)] × bytes + scores + mask + logits
 *   attention = 2 (nq + 2 nkv) head_dim (projected, rotated) + nq head_dim (mixed);  MLP = 3 intermediate (gate, up, product)
 * for the larger of prefill (batch × max_input_len tokens) and decode (batch × beams tokens, max_seq_len keys).
 */
function activations(input: MemoryInput, rank: number): MemoryItem {
  const { language: l, tpSize, maxBatchSize, maxBeamWidth, maxInputLen, maxSeqLen } = input;
  const c = bytesOf(input.computeDtype);
  const heads = Math.ceil(l.heads / tpSize);
  const kvHeads = Math.max(1, Math.ceil(l.kvHeads / tpSize));
  const attention = 2 * (heads + 2 * kvHeads) * l.headDim + heads * l.headDim;
  const mlp = 3 * Math.ceil(l.intermediateSize / tpSize);
  const width = 2 * l.hiddenSize + Math.max(attention, mlp);
  const rows = maxBatchSize * maxBeamWidth;
  const step = (tokens: number, keys: number): number => {
    const scores = input.scoresInMemory ? tokens * keys * heads * 4 : 0;
    return tokens * width * c + scores + tokens * keys;
  };
  const isLast = rank >= input.rankWeights.length - tpSize;
  const logits = isLast ? rows * Math.ceil(l.vocabSize / tpSize) * (c + 4) : 0;
  const prefill = step(maxBatchSize * maxInputLen, maxInputLen);
  const decode = step(rows, maxSeqLen);
  const [name, tokens, keys] =
    prefill >= decode ? ["prefill", maxBatchSize * maxInputLen, maxInputLen] : ["decode", rows, maxSeqLen];
  return {
    what: "activations",
    bytes: Math.max(prefill, decode) + logits,
    formula:
      `${name}: tokens ${tokens} × width ${width} × ${c} B` +
      `${input.scoresInMemory ? ` + scores ${tokens} × ${keys} × heads ${heads} × 4 B` : ""} + mask ${tokens} × ${keys} B` +
      `${isLast ? ` + logits ${rows} × ${Math.ceil(l.vocabSize / tpSize)} × (${c} + 4) B` : ""}`,
  };
}

/** The visual engine is whole on every GPU: images are few and its weights are small beside the language model's. */
function visualItems(input: MemoryInput): MemoryItem[] {
  const { vision: v, swin, maxBatchSize } = input;
  if (swin !== undefined) return swinItems(input, swin);
  if (v === undefined) return [];
  const c = bytesOf(input.computeDtype);
  const tokens = Math.floor(v.imageSize / v.patchSize) ** 2 + 1;
  const width = 2 * v.hiddenSize + Math.max(4 * v.hiddenSize, 2 * v.intermediateSize);
  const pixels = v.channels * v.imageSize ** 2;
  const scores = input.scoresInMemory ? v.heads * tokens * tokens * 4 : 0;
  return [
    visualWeights(input),
    {
      what: "visual_activations",
      bytes: maxBatchSize * ((tokens * width + pixels) * c + scores),
      formula:
        `images ${maxBatchSize} × ((tokens ${tokens} × width ${width} + pixels ${pixels}) × ${c} B` +
        `${input.scoresInMemory ? ` + scores ${v.heads} × ${tokens}² × 4 B` : ""})`,
    },
  ];
}

/** The first stage has the widest buffers: patches are quartered from stage to stage, and channels doubled. */
function swinItems(input: MemoryInput, swin: SwinSpec): MemoryItem[] {
  const { maxBatchSize } = input;
  const c = bytesOf(input.computeDtype);
  const [height, width] = swin.imageSize;
  const tokens = Math.ceil(height / swin.patchSize[0]) * Math.ceil(width / swin.patchSize[1]);
  const channels = Math.ceil(swin.embedSize * (2 + Math.max(4, 2 * swin.mlpRatio)));
  const pixels = swin.channels * height * width;
  const window = swin.windowSize ** 2;
  const scores = input.scoresInMemory ? (swin.heads[0] ?? 1) * tokens * window * 4 : 0;
  return [
    visualWeights(input),
    {
      what: "visual_activations",
      bytes: maxBatchSize * ((tokens * channels + pixels) * c + scores),
      formula:
        `images ${maxBatchSize} × ((patches ${tokens} × width ${channels} + pixels ${pixels}) × ${c} B` +
        `${input.scoresInMemory ? ` + scores ${swin.heads[0]} × ${tokens} × window ${window} × 4 B` : ""})`,
    },
  ];
}

function visualWeights({ visualWeights: bytes }: MemoryInput): MemoryItem {
  return { what: "visual_weights", bytes, formula: "visual/model.safetensors as loaded" };
}

/** What a CUDA context, the engine's own code and the allocator's gaps take besides: a rule of thumb. */
const RESERVED = 1024 ** 3;

/** BLD009 when the fullest rank needs more than `gpu` has, with the largest batch or sequence that would fit. */
export function fitsGpu(account: MemoryAccount, input: MemoryInput, gpu: Gpu, at: string): Problem | undefined {
  const available = gpu.memory_mib * 1024 ** 2 - RESERVED;
  if (account.peak <= available) return undefined;
  const fullest = account.ranks.reduce((a, b) => (b.total > a.total ? b : a));
  const largest = fullest.items.reduce((a, b) => (b.bytes > a.bytes ? b : a));
  return {
    code: "BLD009",
    what: `rank ${fullest.rank} needs ${showBytes(account.peak)} and ${gpu.name} has ${showBytes(available)} free`,
    at,
    why: `the largest part is ${largest.what} with ${showBytes(largest.bytes)} (${largest.formula}); ${showBytes(RESERVED)} of the card are left to the driver`,
    fix: whatFits(input, available),
  };
}

function whatFits(input: MemoryInput, available: number): string {
  const weights = Math.max(...input.rankWeights) + input.visualWeights;
  const next = input.tpSize * 2;
  const convert = `convert with --tp_size ${next} to spread the weights`;
  if (weights > available) return `${convert}, or choose a larger GPU`;
  const fits = (change: Partial<MemoryInput>): boolean => memoryAccount({ ...input, ...change }).peak <= available;
  const rowsPerItem = input.promptRows / input.maxBatchSize;
  const batch = largest(input.maxBatchSize, n => fits({ maxBatchSize: n, promptRows: Math.ceil(n * rowsPerItem) }));
  const length = largest(input.maxSeqLen, n => fits({ maxSeqLen: n, maxInputLen: Math.min(n, input.maxInputLen) }));
  const ways = [
    batch > 0 ? `--max_batch_size ${batch}` : undefined,
    length > input.maxInputLen ? `--max_seq_len ${length}` : undefined,
    convert,
  ];
  return ways.filter(way => way !== undefined).join(", or ");
}

/** Largest n in 1 … most for which `fits` holds, 0 when none; `fits` must be monotonic. */
function largest(most: number, fits: (n: number) => boolean): number {
  let low = 0;
  for (let high = most; low < high; ) {
    const middle = Math.ceil((low + high) / 2);
    if (fits(middle)) low = middle;
    else high = middle - 1;
  }
  return low;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0);
}

import type { SizeRange } from "../formats/engine-config.ts";
import { defaultRange, splitTokens } from "./profiles.ts";
import { eachPoint, promptTableRows, rangeOf, type TrtllmInput } from "./trtllm-range.ts";

/** One rank of a decoder as TensorRT-LLM v0.11 (`prepare_inputs`) sees it. Lengths in tokens; kvHeads and layers are the rank's own. */
export interface TrtllmDecoder {
  readonly maxBatchSize: number;
  readonly maxBeamWidth: number;
  readonly maxInputLen: number;
  readonly maxSeqLen: number;
  readonly maxNumTokens: number;
  readonly optNumTokens: number;
  readonly promptRows: number;
  readonly hiddenSize: number;
  readonly kvHeads: number;
  readonly headSize: number;
  readonly layers: number;
  readonly isFirst: boolean;
  readonly isLast: boolean;
  readonly tpSize: number;
  readonly removeInputPadding: boolean;
  readonly gptAttentionPlugin: boolean;
  readonly gemmPlugin: boolean;
  readonly pagedKvCache: boolean;
  readonly tokensPerBlock: number;
  readonly multipleProfiles: boolean;
  readonly customAllReduce: boolean;
  readonly loraModules: readonly string[];
}

/** What varies from profile to profile. */
interface Point {
  readonly batchBeam: SizeRange;
  readonly tokens: SizeRange;
  readonly inputLen: SizeRange;
  readonly past: SizeRange;
  readonly mask: SizeRange;
}

/** A dimension: fixed, or by profile. */
type Axis = number | ((point: Point) => SizeRange);

/** The names and ranges that `trtllm-build` gives a decoder's inputs: what ours are compared with. R(m) = (1, ⌈m/2⌉, m). */
export function trtllmDecoderInputs(args: TrtllmDecoder): readonly TrtllmInput[] {
  const points = profilePoints(args);
  const inputs: TrtllmInput[] = [];
  const add = (name: string, ...axes: readonly Axis[]): void => {
    const at = (point: Point) => rangeOf(axes.map(axis => (typeof axis === "function" ? axis(point) : axis)));
    inputs.push({ name, profiles: points.map(at) });
  };
  addTokens(args, add);
  addAdapters(args, add);
  addCache(args, add);
  addRequests(args, add);
  return inputs;
}

type Add = (name: string, ...axes: readonly Axis[]) => void;

const batchBeam: Axis = point => point.batchBeam;

/** Ids or hidden states, and the prompt table: one axis of tokens when packed, [batch, length] when padded. */
function addTokens(args: TrtllmDecoder, add: Add): void {
  const packed: Axis = point => point.tokens;
  const length: Axis = point => point.inputLen;
  const tokens: readonly Axis[] = args.removeInputPadding ? [packed] : [batchBeam, length];
  if (args.isFirst) {
    add("input_ids", ...tokens);
    add("position_ids", ...tokens);
  } else add("hidden_states_input", ...tokens, args.hiddenSize);
  if (args.isFirst && args.promptRows > 0) {
    const rows = promptTableRows(args.promptRows);
    add("prompt_embedding_table", () => rows, args.hiddenSize);
    add("tasks", ...(args.removeInputPadding ? [packed] : [batchBeam, 1]));
    add("prompt_vocab_size", 1);
  }
  if (args.isLast) add("last_token_ids", batchBeam);
  if (!args.gptAttentionPlugin) add("attention_mask", batchBeam, point => point.mask);
}

function addAdapters({ loraModules, layers, tpSize, customAllReduce }: TrtllmDecoder, add: Add): void {
  for (const module of loraModules) {
    for (let layer = 0; layer < layers; layer++) {
      add(`${module}_lora_weights_pointers_${layer}`, batchBeam, 2);
      add(`${module}_lora_ranks_${layer}`, batchBeam);
    }
  }
  if (tpSize > 1 && customAllReduce) add("all_reduce_workspace", 4 * tpSize);
}

function addCache(args: TrtllmDecoder, add: Add): void {
  if (!args.pagedKvCache) {
    for (let layer = 0; layer < args.layers; layer++)
      add(`past_key_value_${layer}`, batchBeam, 2, args.kvHeads, point => point.past, args.headSize);
    return;
  }
  // Beams may start a block of their own before the shared one is full.
  const tokens = defaultRange(args.maxSeqLen + (args.maxBeamWidth > 1 ? args.tokensPerBlock : 0));
  const blocks = eachPoint(tokens, size => Math.ceil(size / args.tokensPerBlock));
  add("kv_cache_block_offsets", batchBeam, 2, () => blocks);
  add("host_kv_cache_block_offsets", batchBeam, 2, () => blocks);
  add("host_kv_cache_pool_pointers", 2);
}

/** What the attention plugin reads about each request, and where beam search finds its parents. */
function addRequests(args: TrtllmDecoder, add: Add): void {
  if (args.gptAttentionPlugin) {
    for (const name of ["sequence_length", "host_request_types", "host_past_key_value_lengths", "context_lengths"])
      add(name, batchBeam);
    if (args.removeInputPadding) add("host_context_lengths", batchBeam);
    add("host_max_attention_window_sizes", args.layers);
    add("host_sink_token_length", 1);
  }
  add(
    "cache_indirection",
    () => defaultRange(args.maxBatchSize),
    () => defaultRange(args.maxBeamWidth),
    () => defaultRange(args.maxSeqLen),
  );
}

/** One profile where plugins make kernels independent of the phase, else context and generation, or one a token range. */
function profilePoints(args: TrtllmDecoder): readonly Point[] {
  const rows = defaultRange(args.maxBatchSize * args.maxBeamWidth);
  const tokens = { min: 1, opt: args.optNumTokens, max: args.maxNumTokens };
  const total = defaultRange(args.maxSeqLen);
  const one = { min: 1, opt: 1, max: 1 };
  const whole: Point = {
    batchBeam: rows,
    tokens,
    inputLen: { min: 1, opt: 1, max: args.maxInputLen },
    past: total,
    mask: total,
  };
  if (args.multipleProfiles) return splitTokens(args.maxNumTokens).map(range => ({ ...whole, tokens: range }));
  const { gptAttentionPlugin: gpt, gemmPlugin: gemm, removeInputPadding: packed, pagedKvCache: paged } = args;
  if ((gpt && gemm) || (gpt && packed && paged)) return [whole];
  const length = defaultRange(args.maxInputLen);
  const context = { ...whole, batchBeam: defaultRange(args.maxBatchSize), inputLen: length, mask: length };
  const generation = { ...whole, inputLen: one };
  if (gpt) return [context, generation];
  const none = { min: 0, opt: 0, max: 0 };
  return [
    { ...context, past: none },
    { ...generation, past: eachPoint(total, size => size - 1) },
  ];
}

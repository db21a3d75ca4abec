import type { SizeRange } from "../formats/engine-config.ts";
import { defaultRange } from "./profiles.ts";
import { type AxisRange, eachPoint, promptTableRows, rangeOf, type TrtllmInput } from "./trtllm-range.ts";

/** What both halves of a pair are built with. Sizes are the rank's own. */
interface TrtllmHalf {
  readonly maxBatchSize: number;
  readonly hiddenSize: number;
  readonly isFirst: boolean;
  readonly tpSize: number;
  /** Learned positions are an input; T5's relative ones are not. */
  readonly learnedPositions: boolean;
  readonly removeInputPadding: boolean;
  readonly attentionPlugin: boolean;
  readonly customAllReduce: boolean;
}

/** One rank of an encoder as TensorRT-LLM v0.11 (`EncoderModel.prepare_inputs`) sees it. */
export interface TrtllmEncoder extends TrtllmHalf {
  readonly maxInputLen: number;
  readonly promptRows: number;
}

/** One rank of a decoder that attends to an encoder (`DecoderModel.prepare_inputs`). Lengths in tokens. */
export interface TrtllmCrossDecoder extends TrtllmHalf {
  readonly maxBeamWidth: number;
  /** Of the forced beginning of the answer: usually 1. */
  readonly maxInputLen: number;
  readonly maxSeqLen: number;
  readonly maxEncoderInputLen: number;
  readonly encoderSize: number;
  readonly kvHeads: number;
  readonly headSize: number;
  readonly encoderKvHeads: number;
  readonly encoderHeadSize: number;
  /** Global numbers of the rank's layers. */
  readonly layers: readonly number[];
  readonly isLast: boolean;
  readonly pagedKvCache: boolean;
  readonly tokensPerBlock: number;
}

/** Collects inputs of the one profile that either half has, whatever its plugins. */
class Inputs {
  readonly all: TrtllmInput[] = [];

  add(name: string, ...axes: readonly AxisRange[]): void {
    this.all.push({ name, profiles: [rangeOf(axes)] });
  }
}

/** Names and ranges of an encoder's inputs. R(m) = (1, ⌈m/2⌉, m); packed tokens are R(max_input_len · max_batch_size). */
export function trtllmEncoderInputs(args: TrtllmEncoder): readonly TrtllmInput[] {
  const inputs = new Inputs();
  const batch = defaultRange(args.maxBatchSize);
  const length = defaultRange(args.maxInputLen);
  const packed = defaultRange(args.maxInputLen * args.maxBatchSize);
  addTokens(inputs, args, args.removeInputPadding ? [packed] : [batch, length]);
  if (!args.removeInputPadding && !args.attentionPlugin) inputs.add("attention_mask", batch, length);
  inputs.add("input_lengths", batch);
  inputs.add("max_input_length", length);
  if (args.isFirst && args.promptRows > 0) {
    inputs.add("prompt_embedding_table", promptTableRows(args.promptRows), args.hiddenSize);
    // Padded, v0.11 allows tasks a single row, whatever the batch; ours goes with the batch.
    inputs.add("tasks", ...(args.removeInputPadding ? [packed] : [1, 1]));
    inputs.add("prompt_vocab_size", 1);
  }
  addAllReduce(inputs, args);
  return inputs.all;
}

/**
 * Names and ranges of a cross-attending decoder's inputs. Its cache holds max_input_len + max_seq_len tokens and, like
 * what comes from the encoder, may be empty: the encoder's output is given in the first step alone.
 */
export function trtllmCrossDecoderInputs(args: TrtllmCrossDecoder): readonly TrtllmInput[] {
  const inputs = new Inputs();
  const rows = defaultRange(args.maxBatchSize * args.maxBeamWidth);
  const packed = {
    min: 1,
    opt: rows.max,
    max: args.maxBatchSize * Math.max(args.maxInputLen, args.maxBeamWidth),
  };
  const inputLen = { min: 1, opt: 1, max: args.maxInputLen };
  addTokens(inputs, args, args.removeInputPadding ? [packed] : [rows, inputLen]);
  addEncoder(inputs, args, rows);
  if (args.isLast) inputs.add("last_token_ids", rows);
  addRequests(inputs, args, rows);
  addCaches(inputs, args, rows);
  addAllReduce(inputs, args);
  return inputs.all;
}

function addTokens(inputs: Inputs, half: TrtllmHalf, tokens: readonly AxisRange[]): void {
  if (half.isFirst) {
    inputs.add("input_ids", ...tokens);
    if (half.learnedPositions) inputs.add("position_ids", ...tokens);
  } else inputs.add("hidden_states_input", ...tokens, half.hiddenSize);
}

function addAllReduce(inputs: Inputs, { tpSize, customAllReduce }: TrtllmHalf): void {
  if (tpSize > 1 && customAllReduce) inputs.add("all_reduce_workspace", 4 * tpSize);
}

function addEncoder(inputs: Inputs, args: TrtllmCrossDecoder, rows: SizeRange): void {
  const packed = orNone(defaultRange(args.maxEncoderInputLen * args.maxBatchSize));
  const length = defaultRange(args.maxEncoderInputLen);
  inputs.add("encoder_input_lengths", rows);
  inputs.add("encoder_max_input_length", length);
  inputs.add("encoder_output", ...(args.removeInputPadding ? [packed] : [rows, orNone(length)]), args.encoderSize);
}

/** What the attention plugin reads about each request, or the mask that stands for it, and where beams find their parents. */
function addRequests(inputs: Inputs, args: TrtllmCrossDecoder, rows: SizeRange): void {
  const total = cacheTokens(args);
  if (args.attentionPlugin) {
    for (const name of ["host_past_key_value_lengths", "sequence_length", "context_lengths", "host_request_types"])
      inputs.add(name, rows);
    if (args.removeInputPadding) inputs.add("host_context_lengths", rows);
    inputs.add("host_max_attention_window_sizes", args.layers.length);
    inputs.add("host_sink_token_length", 1);
  } else inputs.add("attention_mask", rows, { ...eachPoint(total, size => size + 1), min: 1 });
  inputs.add("cache_indirection", defaultRange(args.maxBatchSize), defaultRange(args.maxBeamWidth), total);
}

/** The decoder's own keys and values and the encoder's: in blocks, or a tensor for each layer. */
function addCaches(inputs: Inputs, args: TrtllmCrossDecoder, rows: SizeRange): void {
  const own = cacheTokens(args);
  const cross = orNone(defaultRange(args.maxEncoderInputLen));
  if (!args.pagedKvCache) {
    for (const layer of args.layers) {
      inputs.add(`past_key_value_${layer}`, rows, 2, args.kvHeads, own, args.headSize);
      inputs.add(`cross_past_key_value_${layer}`, rows, 2, args.encoderKvHeads, cross, args.encoderHeadSize);
    }
  }
  const pools = [
    ["", own],
    ["cross_", cross],
  ] as const;
  for (const [prefix, tokens] of args.pagedKvCache ? pools : []) {
    const blocks = eachPoint(tokens, size => Math.ceil(size / args.tokensPerBlock));
    inputs.add(`${prefix}kv_cache_block_offsets`, rows, 2, blocks);
    inputs.add(`host_${prefix}kv_cache_block_offsets`, rows, 2, blocks);
    inputs.add(`host_${prefix}kv_cache_pool_pointers`, 2);
  }
  // Whether this step fills the encoder's part.
  inputs.add("cross_kv_cache_gen", 1);
}

function cacheTokens({ maxInputLen, maxSeqLen }: TrtllmCrossDecoder): SizeRange {
  return orNone(defaultRange(maxInputLen + maxSeqLen));
}

function orNone(range: SizeRange): SizeRange {
  return { ...range, min: 0 };
}

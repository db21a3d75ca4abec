import type { DecoderSpec, EncoderSpec } from "../../models/spec.ts";
import { bytesOf } from "./bytes.ts";
import { kvHeadsOf } from "./cache-items.ts";
import type { MemoryInput, MemoryItem, StepMemory } from "./types.ts";

/** prefill: batch × max_input_len tokens, or a piece of each prompt · decode: batch × beams tokens, max_seq_len keys. */
export function stepsOf(input: MemoryInput): readonly StepMemory[] {
  const { maxBatchSize, maxBeamWidth, maxInputLen, maxSeqLen, contextPiece: piece = maxInputLen } = input;
  // The profile's box: its largest past and its largest piece at once. A static cache is looked at whole.
  const earlier = input.contextPiece === undefined ? 0 : maxInputLen - 1;
  const promptKeys = input.cacheType === "static" ? maxSeqLen : earlier + piece;
  return [
    stepOf(input, "prefill", maxBatchSize * piece, promptKeys),
    stepOf(input, "decode", maxBatchSize * maxBeamWidth, maxSeqLen),
  ];
}

/**
 * Upper bound of what lives at once in the widest layer, since buffers are reused from layer to layer:
 *   tokens × [2 hidden (residual, normed) + max(attention, MLP)] × bytes + scores + mask
 *   attention = 2 (nq + 2 nkv) head_dim (projected, rotated) + nq head_dim (mixed);  MLP = 3 intermediate (gate, up, product)
 */
function stepOf(input: MemoryInput, step: StepMemory["step"], tokens: number, keys: number): StepMemory {
  const { language, tpSize } = input;
  const c = bytesOf(input.computeDtype);
  const heads = Math.ceil(language.heads / tpSize);
  const width = widthOf(language, heads, kvHeadsOf(input), Math.ceil(language.intermediateSize / tpSize));
  const scores = input.scoresInMemory ? tokens * keys * heads * 4 : 0;
  return {
    step,
    tokens,
    keys,
    bytes: tokens * width * c + scores + tokens * keys,
    formula:
      `tokens ${tokens} × width ${width} × ${c} B` +
      `${input.scoresInMemory ? ` + scores ${tokens} × ${keys} × heads ${heads} × 4 B` : ""} + mask ${tokens} × ${keys} B`,
  };
}

function widthOf(
  { hiddenSize, headDim }: Pick<DecoderSpec, "hiddenSize" | "headDim">,
  heads: number,
  kvHeads: number,
  intermediate: number,
): number {
  const attention = 2 * (heads + 2 * kvHeads) * headDim + heads * headDim;
  return 2 * hiddenSize + Math.max(attention, 3 * intermediate);
}

/** What a decoder's call needs besides weights and cache. */
export function languageItems(input: MemoryInput, rank: number, steps: readonly StepMemory[]): MemoryItem[] {
  const { language, tpSize, ppSize, maxBatchSize, maxBeamWidth, promptRows } = input;
  const c = bytesOf(input.computeDtype);
  const widest = steps.reduce((a, b) => (b.bytes > a.bytes ? b : a));
  const items: MemoryItem[] = [
    { what: "activations", bytes: widest.bytes, formula: `${widest.step}: ${widest.formula}` },
  ];
  const rows = maxBatchSize * maxBeamWidth;
  const stage = Math.floor(rank / tpSize);
  if (stage === ppSize - 1) {
    const vocab = Math.ceil(language.vocabSize / tpSize);
    items.push({ what: "logits", bytes: rows * vocab * (c + 4), formula: `rows ${rows} × ${vocab} × (${c} + 4) B` });
  }
  const ends = Number(stage > 0) + Number(stage < ppSize - 1);
  if (ends > 0) {
    const tokens = Math.max(...steps.map(step => step.tokens));
    const bytes = ends * tokens * language.hiddenSize * c;
    const formula = `from and to other stages ${ends} × tokens ${tokens} × hidden ${language.hiddenSize} × ${c} B`;
    items.push({ what: "hidden_states", bytes, formula });
  }
  if (promptRows > 0 && stage === 0) {
    // Beside the rows themselves what is added behind the first layers.
    const tables = 1 + (language.deepstackLevels ?? 0);
    items.push({
      what: "prompt_table",
      bytes: promptRows * language.hiddenSize * c * tables,
      formula: `rows ${promptRows} × hidden ${language.hiddenSize} × ${c} B${tables > 1 ? ` × ${tables} tables` : ""}`,
    });
  }
  return items;
}

/** A text encoder's one call: every token looks at every other, and its output is kept for the decoder. */
export function encoderItems(input: MemoryInput): MemoryItem[] {
  const { language, encoder, encoderLen: length = 0, maxBatchSize, tpSize } = input;
  if (encoder === undefined || length === 0) return [];
  const c = bytesOf(input.computeDtype);
  const tokens = maxBatchSize * length;
  const { heads, width } = encoderWidth(language, encoder, tpSize);
  const scores = input.scoresInMemory ? tokens * length * heads * 4 : 0;
  return [
    {
      what: "encoder_activations",
      bytes: tokens * (width + language.hiddenSize) * c + scores + tokens * length,
      formula:
        `tokens ${tokens} × (width ${width} + output ${language.hiddenSize}) × ${c} B` +
        `${input.scoresInMemory ? ` + scores ${tokens} × ${length} × heads ${heads} × 4 B` : ""} + mask ${tokens} × ${length} B`,
    },
  ];
}

function encoderWidth(
  { hiddenSize }: DecoderSpec,
  encoder: EncoderSpec,
  tpSize: number,
): { heads: number; width: number } {
  const heads = Math.ceil(encoder.heads / tpSize);
  const intermediate = Math.ceil(encoder.intermediateSize / tpSize);
  return { heads, width: widthOf({ hiddenSize, headDim: encoder.headDim }, heads, heads, intermediate) };
}

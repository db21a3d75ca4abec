/** How answers are made; the meaning of each number is transformers' GenerationConfig's. */
export interface GenerateOptions {
  readonly maxNewTokens: number;
  /** End tokens cannot be chosen before. */
  readonly minNewTokens: number;
  /** 1: greedy, or sampling. */
  readonly numBeams: number;
  /** 1 is greedy; 0 does not limit. */
  readonly topK: number;
  /** 0 and 1 do not limit. */
  readonly topP: number;
  readonly temperature: number;
  readonly repetitionPenalty: number;
  /** No run of this many tokens comes twice; 0 does not limit. */
  readonly noRepeatNgramSize: number;
  readonly lengthPenalty: number;
  /** Beams: stop as soon as num_beams answers are finished, instead of when no better one can come. */
  readonly earlyStopping: boolean;
  readonly seed: number;
  readonly eosTokenIds: readonly number[];
  /** The first and the last token max_new_tokens allows, whatever the logits say; undefined forces nothing. */
  readonly forcedBosTokenId?: number | undefined;
  readonly forcedEosTokenId?: number | undefined;
  /** Texts that end an answer and are cut off with what follows. */
  readonly stop: readonly string[];
}

export const GENERATE_DEFAULTS: GenerateOptions = {
  maxNewTokens: 30,
  minNewTokens: 0,
  numBeams: 1,
  topK: 1,
  topP: 0,
  temperature: 1,
  repetitionPenalty: 1,
  noRepeatNgramSize: 0,
  lengthPenalty: 1,
  earlyStopping: false,
  seed: 0,
  eosTokenIds: [],
  stop: [],
};

/** stop: an end token or a stop text came; length: max_new_tokens were made. */
export type FinishReason = "stop" | "length";

/** One answer. */
export interface Generated {
  /** New tokens, an end token included. */
  readonly tokenIds: readonly number[];
  readonly finishReason: FinishReason;
  /** Sum of log probabilities with the length penalty applied; of beam search only. */
  readonly score?: number;
}

import type { LlmEngineConfig } from "../formats/engine-config.ts";
import { type RopePositions, ropePositions, slicePositions } from "./positions.ts";
import type { Features } from "./prompt-table.ts";
import { type SpansLeft, spansLeft } from "./spans.ts";

/** What a decoder is told of a prompt's tokens besides their ids, where its tokens are not all alike. */
export interface PromptMarks {
  readonly spans?: SpansLeft;
  readonly positions?: RopePositions;
}

/** Of each prompt; undefined for a decoder that takes none of it. */
export function promptMarks(
  config: LlmEngineConfig,
  prompts: readonly (readonly number[])[],
  vocab: number,
  table: Features | undefined,
): readonly PromptMarks[] | undefined {
  const spans = spansLeft(config, prompts, vocab);
  const positions = ropePositions(config, prompts, vocab, table);
  if (spans === undefined && positions === undefined) return undefined;
  return prompts.map((_, row) => ({
    ...(spans && { spans: spans[row] as SpansLeft }),
    ...(positions && { positions: positions[row] as RopePositions }),
  }));
}

/** Those of tokens `from` … `to`. */
export function sliceMarks({ spans, positions }: PromptMarks, from: number, to: number): PromptMarks {
  return {
    ...(spans && { spans: spans.slice(from, to) }),
    ...(positions && { positions: slicePositions(positions, from, to) }),
  };
}

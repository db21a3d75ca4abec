import type { runOptions } from "../../options/tables/run.ts";
import { sizeBytes } from "../../options/value.ts";
import { showBytes } from "../../rules/rule.ts";
import type { AnswerSession } from "../../runtime/generation.ts";
import type { CommandContext } from "../command.ts";
import type { EventData, Ui } from "../ui.ts";

type Asked = Pick<CommandContext<typeof runOptions>, "options" | "given" | "ui">;

/** Bytes that may be kept between requests; undefined where nothing is to be. */
export function reuseBytesOf({ options, given, ui }: Asked): number | undefined {
  if (options.enable_kv_cache_reuse) return sizeBytes(options.kv_cache_reuse_size);
  if (given("kv_cache_reuse_size"))
    ui.info("note: --kv_cache_reuse_size has no effect without --enable_kv_cache_reuse", {
      option: "kv_cache_reuse_size",
    });
  return undefined;
}

/** For the result's event; nothing without reuse. */
export function reuseData({ reuse }: AnswerSession): EventData {
  if (reuse === undefined) return {};
  return {
    kv_cache_reuse: {
      prompt_tokens: reuse.promptTokens,
      reused_tokens: reuse.reusedTokens,
      hit_rate: hitRate(reuse),
      blocks: reuse.blocks,
      max_blocks: reuse.capacity,
      bytes: reuse.bytes,
      evicted_blocks: reuse.evicted,
    },
  };
}

/** The same in words, after the answers; with --json it is part of the result. */
export function noteReuse({ reuse }: AnswerSession, ui: Ui): void {
  if (reuse === undefined || ui.json) return;
  const { promptTokens, reusedTokens, blocks, capacity, bytes, evicted } = reuse;
  const share = (hitRate(reuse) * 100).toFixed(1);
  const gone = evicted > 0 ? `, ${evicted} gave way` : "";
  ui.info(
    `kv cache reuse: ${reusedTokens} of ${promptTokens} prompt tokens known from before (${share} %); ${blocks} of ${capacity} blocks kept (${showBytes(bytes)})${gone}`,
  );
}

/** Share of prompt tokens that were not computed; 0 before the first prompt. */
function hitRate({
  promptTokens,
  reusedTokens,
}: {
  readonly promptTokens: number;
  readonly reusedTokens: number;
}): number {
  return promptTokens === 0 ? 0 : Math.round((reusedTokens / promptTokens) * 1e4) / 1e4;
}

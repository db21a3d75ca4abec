import { readCalibrationSet } from "../../quantize/calibration-data.ts";
import type { Assistant } from "../../runtime/assistant.ts";
import { perplexityOf } from "../../runtime/perplexity.ts";
import type { Session } from "../../runtime/session.ts";
import type { EvalContext } from "./context.ts";

/** How likely the texts are to the model, all before a token given. */
export async function runPerplexity(assistant: Assistant<Session>, { options, ui }: EvalContext): Promise<void> {
  const set = await readCalibrationSet(options.texts, options.texts === undefined ? undefined : options.size);
  const { max_seq_len, max_batch_size } = assistant.session.engine.llm.build_config;
  const most = Math.min(options.max_tokens, max_seq_len);
  const items = set.items.filter(({ images }) => images.length === 0).slice(-options.size);
  const tokenizer = items.every(({ ids }) => ids !== undefined) ? undefined : await assistant.tokenizer();
  const texts = items.map(({ ids, text }) => (ids ?? tokenizer?.encode(text) ?? []).slice(0, most));
  const found = await perplexityOf(assistant.session, texts, max_batch_size, done =>
    ui.progress({ id: "eval", label: "reading texts", done, total: texts.length, unit: "texts" }),
  );
  const { perplexity, tokens } = found;
  ui.result(`perplexity ${perplexity.toFixed(4)} over ${tokens} tokens of ${texts.length} texts`, {
    perplexity,
    tokens,
    texts: texts.length,
  });
}

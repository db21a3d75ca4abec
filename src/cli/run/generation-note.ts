import type { JsonObject } from "../../formats/json.ts";
import type { RunOptions } from "../../options/tables/run.ts";
import type { AnswerSession } from "../../runtime/generation.ts";
import { readGenerationConfig } from "../../runtime/generation-config.ts";
import type { RunContext } from "./request.ts";

type Key = keyof RunOptions & string;

/** Settings of beams alone, which change nothing in a search without them. */
const OF_BEAMS: readonly Key[] = ["length_penalty", "early_stopping"];
const OF_SAMPLING: readonly Key[] = ["temperature", "top_k", "top_p"];
const ALWAYS: readonly Key[] = ["num_beams", "no_repeat_ngram_size", "repetition_penalty", "min_new_tokens"];
/** transformers samples from this many where the file does not say. */
const SAMPLED_FROM = 50;

/** What transformers' generate would heed and `run` cannot, with the value that asks for nothing. */
const UNKNOWN: Readonly<Record<string, unknown>> = {
  bad_words_ids: null,
  begin_suppress_tokens: null,
  diversity_penalty: 0,
  encoder_no_repeat_ngram_size: 0,
  encoder_repetition_penalty: 1,
  epsilon_cutoff: 0,
  eta_cutoff: 0,
  exponential_decay_length_penalty: null,
  min_p: null,
  num_beam_groups: 1,
  penalty_alpha: null,
  sequence_bias: null,
  suppress_tokens: null,
  typical_p: 1,
};

/**
 * `run` answers as its flags say, and generation_config.json may ask for something else: the flags that would do what it
 * asks are named, so that an answer that differs from transformers' has a known reason. Flags that the user typed are his.
 */
export async function noteGeneration(session: AnswerSession, { options, given, ui }: RunContext): Promise<void> {
  const { tokenizerDir, manifest } = session.engine;
  const settings = await readGenerationConfig(tokenizerDir);
  const asked = askedFor(settings, manifest.model.encoder_decoder !== undefined);
  const beams = Math.max(options.num_beams, given("num_beams") ? 1 : ((asked.num_beams as number | undefined) ?? 1));
  const flags = Object.entries(asked)
    .filter(
      ([key, value]) => !given(key) && options[key as Key] !== value && (beams > 1 || !OF_BEAMS.includes(key as Key)),
    )
    .map(([key, value]) => (value === true ? `--${key}` : `--${key} ${value}`));
  const unknown = Object.keys(UNKNOWN).filter(key => isAskedFor(settings[key], UNKNOWN[key]));
  if (settings.early_stopping === "never" && beams > 1) unknown.push("early_stopping never");
  if (flags.length > 0)
    ui.info(`note: generation_config.json asks for ${flags.join(" ")}; run does so when these flags are given`, {
      flags,
    });
  if (unknown.length > 0)
    ui.info(`note: generation_config.json sets ${unknown.join(", ")}, which run does not have`, { unknown });
}

/** In the words of `run`. */
function askedFor(settings: JsonObject, isPair: boolean): Readonly<Partial<Record<Key, number | boolean>>> {
  const keys = [...ALWAYS, ...OF_BEAMS, ...(settings.do_sample === true ? OF_SAMPLING : [])];
  const found = keys
    .map(key => [key, settings[key]] as const)
    .filter((entry): entry is readonly [Key, number | boolean] => isSetting(entry[1]));
  // An encoder-decoder's length counts its start token; that of a decoder counts the prompt, of any length.
  const shortest = isPair && typeof settings.min_length === "number" && settings.min_length > 1;
  return {
    ...(settings.do_sample === true && { top_k: SAMPLED_FROM }),
    ...(shortest && { min_new_tokens: (settings.min_length as number) - 1 }),
    ...Object.fromEntries(found),
  };
}

function isSetting(value: unknown): boolean {
  return typeof value === "boolean" || (typeof value === "number" && Number.isFinite(value));
}

function isAskedFor(value: unknown, neutral: unknown): boolean {
  const empty = value === undefined || value === null || value === neutral;
  return !empty && !(Array.isArray(value) && value.length === 0);
}

import type { Adjustment } from "../../build/settings.ts";
import type { PublishedModel } from "../../checkpoint/published.ts";
import type { OptionValue } from "../../options/define.ts";
import type { PlanOptions } from "../../options/tables/plan.ts";

/** A command's options with where each comes from. */
export interface Chosen {
  readonly options: PlanOptions;
  origin(key: string): string;
  given(key: string): boolean;
}

/** They are chosen together: a prompt and an answer share max_seq_len. */
const LENGTHS = ["max_input_len", "max_seq_len", "max_encoder_input_len"];
/** Rows of the prompt table follow from these. */
const BATCH = ["max_batch_size", "max_multimodal_len"];

/**
 * The build recommended for a model, where the user said nothing: a length of theirs puts out all recommended lengths, a
 * batch size the recommended size of the prompt table. Recommended values count as given, so nothing adjusts them.
 */
export function withRecommended(
  chosen: Chosen,
  model: PublishedModel,
): Chosen & { readonly taken: ReadonlyMap<string, OptionValue>; readonly adjustments: readonly Adjustment[] } {
  const said = (keys: readonly string[]): boolean => keys.some(key => chosen.given(key));
  const taken = new Map<string, OptionValue>(
    Object.entries(model.build).filter(
      ([key]) =>
        !chosen.given(key) && !(LENGTHS.includes(key) && said(LENGTHS)) && !(BATCH.includes(key) && said(BATCH)),
    ),
  );
  const from = chosen.options as Readonly<Record<string, OptionValue | undefined>>;
  return {
    options: { ...chosen.options, ...Object.fromEntries(taken) } as PlanOptions,
    origin: key => (taken.has(key) ? `configs/models/${model.name}.yaml: build.${key}` : chosen.origin(key)),
    given: key => taken.has(key) || chosen.given(key),
    taken,
    adjustments: [...taken]
      .filter(([option, to]) => from[option] !== to)
      .map(([option, to]) => ({
        option,
        from: scalar(from[option]),
        to: scalar(to),
        why: `recommended for ${model.name}`,
      })),
  };
}

function scalar(value: OptionValue | undefined): Adjustment["to"] {
  return typeof value === "object" ? value.join(",") : (value ?? null);
}

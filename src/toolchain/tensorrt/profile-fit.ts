import type { ShapeRange } from "./request.ts";

/** Which build option limits a dimension of an input: the contract's names, axis by axis. */
const LIMITS: readonly { readonly input: RegExp; readonly axes: readonly (string | undefined)[] }[] = [
  { input: /^(input_ids|position_ids)$/, axes: ["max_batch_size", "max_input_len"] },
  { input: /^last_token_ids$/, axes: ["max_batch_size"] },
  { input: /^tasks$/, axes: ["max_batch_size"] },
  { input: /^attention_mask$/, axes: ["max_batch_size", "max_seq_len"] },
  { input: /^encoder_attention_mask$/, axes: ["max_batch_size", "max_encoder_input_len"] },
  { input: /^encoder_output$/, axes: ["max_batch_size", "max_encoder_input_len"] },
  { input: /^(past_key|past_value)_\d+$/, axes: ["max_batch_size", undefined, "max_seq_len"] },
  { input: /^cross_(past_)?(key|value)_\d+$/, axes: ["max_batch_size", undefined, "max_encoder_input_len"] },
  { input: /^prompt_embedding_table$/, axes: ["max_multimodal_len"] },
  { input: /^hidden_states_input$/, axes: ["max_batch_size", "max_input_len"] },
  { input: /^lora_[AB]_/, axes: ["max_lora_rank", "max_lora_rank"] },
  { input: /^input$/, axes: ["max_batch_size"] },
];

export function limitFlag(input: string, axis: number): string | undefined {
  return LIMITS.find(limit => limit.input.test(input))?.axes[axis];
}

export interface Profile {
  readonly name: string;
  readonly shapes: Readonly<Record<string, ShapeRange>>;
}

/** A size outside a profile's range; `axis` −1 stands for a wrong number of dimensions. */
export interface Misfit {
  readonly profile: string;
  readonly input: string;
  readonly axis: number;
  readonly size: number;
  readonly min: number;
  readonly max: number;
  /** The build option to raise (or to lower, when the size is below min). */
  readonly flag: string | undefined;
}

/** Every dimension of `shapes` outside each profile: one list a profile; an empty list is a profile that fits. */
export function misfitsOf(
  shapes: Readonly<Record<string, readonly number[]>>,
  profiles: readonly Profile[],
): readonly (readonly Misfit[])[] {
  return profiles.map(profile =>
    Object.entries(shapes).flatMap(([input, shape]) => {
      const range = profile.shapes[input];
      return range === undefined ? [] : misfitsOfInput(profile.name, input, shape, range);
    }),
  );
}

function misfitsOfInput(
  profile: string,
  input: string,
  shape: readonly number[],
  range: ShapeRange,
): readonly Misfit[] {
  if (shape.length !== range.min.length) {
    return [
      { profile, input, axis: -1, size: shape.length, min: range.min.length, max: range.min.length, flag: undefined },
    ];
  }
  return shape.flatMap((size, axis) => {
    const [min, max] = [range.min[axis] ?? 0, range.max[axis] ?? 0];
    return size >= min && size <= max ? [] : [{ profile, input, axis, size, min, max, flag: limitFlag(input, axis) }];
  });
}

/** What to change so that `shapes` run: the misfits of the profile that comes nearest. Undefined when one fits, or nothing is known. */
export function describeMisfits(
  shapes: Readonly<Record<string, readonly number[]>>,
  profiles: readonly Profile[],
): string | undefined {
  const lists = misfitsOf(shapes, profiles);
  const fewest = lists.length === 0 ? [] : lists.reduce((best, list) => (list.length < best.length ? list : best));
  return fewest.length === 0 ? undefined : fewest.map(describeMisfit).join("; ");
}

function describeMisfit({ profile, input, axis, size, min, max, flag }: Misfit): string {
  if (axis < 0) return `${input} has ${size} dimensions, the engine takes ${max}`;
  const place = `${input} axis ${axis} is ${size}, profile ${profile} takes ${min} to ${max}`;
  if (size > max)
    return flag === undefined
      ? `${place}: ask for at most ${max}`
      : `${place}: build with a higher --${flag}, or ask for at most ${max}`;
  return `${place}: give at least ${min}`;
}

/** "input_ids [8, 2048], past_key_0…31 [8, 4, 2047, 64]": the largest size of each dimension over all profiles. */
export function describeLimits(profiles: readonly Profile[]): string {
  const largest = new Map<string, number[]>();
  for (const { shapes } of profiles) {
    for (const [input, { max }] of Object.entries(shapes)) {
      const known = largest.get(input);
      largest.set(input, known === undefined ? [...max] : known.map((size, axis) => Math.max(size, max[axis] ?? 0)));
    }
  }
  const alike = new Map<string, string[]>();
  for (const [input, max] of largest) {
    const key = `${input.replace(/\d+$/, "")} ${max.join(", ")}`;
    alike.set(key, [...(alike.get(key) ?? []), input]);
  }
  return [...alike.values()]
    .map(inputs => `${joinLayers(inputs)} [${largest.get(inputs[0] ?? "")?.join(", ")}]`)
    .join(", ");
}

/** past_key_0 … past_key_31 are one line: a decoder has two for each layer. */
function joinLayers(inputs: readonly string[]): string {
  const [first = "", last = first] = [inputs[0], inputs.at(-1)];
  return first === last ? first : `${first}…${/\d+$/.exec(last)?.[0] ?? last}`;
}

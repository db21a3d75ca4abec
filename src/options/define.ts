/**
 * What an option holds. `path` is a string that is resolved against the directory of the file it was written in; `size` the
 * text of an amount of memory (`24GiB`), which `sizeBytes` reads.
 */
export type OptionType = "integer" | "number" | "boolean" | "string" | "path" | "size";

export type OptionScalar = string | number | boolean;
export type OptionValue = OptionScalar | readonly OptionScalar[];

/** A spelling that other tools or older versions use; it works on the command line and prints the modern form. */
export interface Alias {
  /** Without dashes; one letter means `-i`. */
  readonly name: string;
  /** The value is added to this other option (`--max_output_len N` means max_seq_len = max_input_len + N). */
  readonly plus?: string;
  /** Old words of the value and what they are called today; an alias with `values` takes no others. */
  readonly values?: Readonly<Record<string, string>>;
  /** What the flag means without a value, where the other tool allows that (`--use_gemm_plugin`). */
  readonly bare?: string;
}

/** One option, written once: type, default, limits and text are taken from here by flags, YAML, env, schema and docs. */
export interface OptionSpec {
  readonly type: OptionType;
  /** One or two sentences for `--help` and docs/reference; says the unit and what the value changes. */
  readonly about: string;
  /** Repeat the flag, give several words, or separate by commas. */
  readonly list?: boolean;
  /** false: a comma belongs to the value (free text, file names). Lists only. */
  readonly commas?: boolean;
  /** The only values a string may have. */
  readonly enum?: readonly string[];
  /** Words accepted beside a number (`auto`). */
  readonly words?: readonly string[];
  /** Other spellings of a value; taken with a note (`fp16` for `float16`). */
  readonly synonyms?: Readonly<Record<string, string>>;
  readonly default?: OptionValue;
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
  readonly required?: boolean;
  /** Also taken from words without a flag, in the order of the table; a list takes the rest. */
  readonly positional?: boolean;
  /** What stands for the value in help (`DIR`); by default made from the type. */
  readonly placeholder?: string;
  /** A path that may be a model of the Hugging Face Hub instead: org/name, where no such file is. */
  readonly hub?: boolean;
  /** Heading in help. */
  readonly group?: string;
  readonly hidden?: boolean;
  /** A letter for `-q`; not an old spelling, so no note. */
  readonly short?: string;
  readonly aliases?: readonly Alias[];
  /** Still works; the text says what to use instead. */
  readonly deprecated?: string;
  /** Accepted so that old command lines run, and without effect; the text says why none is needed. */
  readonly ignored?: string;
}

export type OptionTable = Readonly<Record<string, OptionSpec>>;

type WordsOf<O> = O extends { readonly words: readonly (infer W)[] } ? W : never;

type ScalarOf<O> = O extends { readonly enum: readonly (infer E)[] }
  ? E
  : O extends { readonly type: "integer" | "number" }
    ? number | WordsOf<O>
    : O extends { readonly type: "boolean" }
      ? boolean | WordsOf<O>
      : string;

type ValueOf<O> = O extends { readonly list: true } ? readonly ScalarOf<O>[] : ScalarOf<O>;

/** The resolved options of a table: exact string unions from `enum` and `words`; no default and not required → `| undefined`. */
export type Values<T extends OptionTable> = {
  readonly [K in keyof T]: T[K] extends { readonly required: true } | { readonly default: OptionValue }
    ? ValueOf<T[K]>
    : ValueOf<T[K]> | undefined;
};

/** Identity that keeps the literal types, which `Values` reads. */
export function defineOptions<const T extends OptionTable>(table: T): T {
  return table;
}

/** The values a caller gets who types nothing but `given`: for tests and for code that calls a command's parts. */
export function withDefaults<T extends OptionTable>(table: T, given: Partial<Values<T>> = {}): Values<T> {
  const defaults = Object.fromEntries(Object.entries(table).map(([key, spec]) => [key, spec.default]));
  return { ...defaults, ...given } as Values<T>;
}

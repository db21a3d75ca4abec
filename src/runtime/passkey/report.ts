/** One key that was hidden and asked for. */
export interface AskedKey {
  /** Tokens of prompt and answer together. */
  readonly length: number;
  /** Percent of the filler before the key. */
  readonly depth: number;
  readonly key: string;
  readonly answer: string;
  readonly found: boolean;
  readonly promptTokens: number;
  readonly prefillMs: number;
}

/** Keys of one length at one depth. */
export interface PasskeyCell {
  readonly context_len: number;
  readonly depth: number;
  readonly found: number;
  readonly total: number;
}

/** One length, all depths together. */
export interface PasskeyLength {
  readonly context_len: number;
  /** Of the longest prompt: whole sentences leave it a few tokens short of what there is room for. */
  readonly prompt_tokens: number;
  readonly found: number;
  readonly total: number;
  /** Mean time of a prompt up to its first token. */
  readonly prefill_ms: number;
}

/** What `eval passkey --json` ends with. */
export interface PasskeyReport {
  readonly found: number;
  readonly total: number;
  /** found / total. */
  readonly accuracy: number;
  /** The longest of the lengths at which every key was found, as at all shorter ones; null: there is none. */
  readonly longest_found: number | null;
  readonly lengths: readonly PasskeyLength[];
  readonly cells: readonly PasskeyCell[];
  readonly missed: readonly {
    readonly context_len: number;
    readonly depth: number;
    readonly key: string;
    readonly answer: string;
  }[];
}

/** Counts by length and depth; lengths in ascending order. */
export function passkeyReport(asked: readonly AskedKey[]): PasskeyReport {
  const lengths = distinct(asked.map(({ length }) => length));
  const depths = distinct(asked.map(({ depth }) => depth));
  const count = (list: readonly AskedKey[]): { found: number; total: number } => ({
    found: list.filter(({ found }) => found).length,
    total: list.length,
  });
  const summaries = lengths.map(context_len => {
    const these = asked.filter(({ length }) => length === context_len);
    const prefill = these.reduce((sum, { prefillMs }) => sum + prefillMs, 0) / these.length;
    return {
      context_len,
      prompt_tokens: Math.max(...these.map(({ promptTokens }) => promptTokens)),
      ...count(these),
      prefill_ms: Math.round(prefill * 1000) / 1000,
    };
  });
  const all = count(asked);
  return {
    ...all,
    accuracy: all.found / all.total,
    longest_found: longestFound(summaries),
    lengths: summaries,
    cells: lengths.flatMap(context_len =>
      depths.map(depth => ({
        context_len,
        depth,
        ...count(asked.filter(one => one.length === context_len && one.depth === depth)),
      })),
    ),
    missed: asked
      .filter(({ found }) => !found)
      .map(({ length, depth, key, answer }) => ({ context_len: length, depth, key, answer })),
  };
}

function longestFound(lengths: readonly PasskeyLength[]): number | null {
  const first = lengths.findIndex(({ found, total }) => found < total);
  const whole = first === -1 ? lengths : lengths.slice(0, first);
  return whole.at(-1)?.context_len ?? null;
}

function distinct(values: readonly number[]): readonly number[] {
  return [...new Set(values)].sort((a, b) => a - b);
}

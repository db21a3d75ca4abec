/** What `docs/errors/<code>.md` and `mmtrt explain <code>` say about a code; codes are never reused. */
export interface CodeInfo {
  /** The problem in one line, without values. */
  readonly title: string;
  /** Cause and cure in two or three sentences. */
  readonly about: string;
  /** 1 bad input (default) · 2 usage · 3 the machine lacks something · 4 numbers disagree. */
  readonly exit?: 1 | 2 | 3 | 4;
}

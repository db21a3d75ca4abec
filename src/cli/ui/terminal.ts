/** The two streams of a process, or stand-ins of a test. */
export interface Terminal {
  readonly stdout: { write(text: string): unknown; readonly isTTY?: boolean | undefined };
  readonly stderr: {
    write(text: string): unknown;
    readonly isTTY?: boolean | undefined;
    readonly columns?: number | undefined;
  };
  /** Milliseconds; for rate and ETA. */
  now(): number;
}

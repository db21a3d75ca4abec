/** The only place that reads the environment; everything else is handed what it needs. */
export type Environment = Readonly<Record<string, string | undefined>>;

export const ENV_PREFIX = "MMTRT_";

export function environment(): Environment {
  return process.env;
}

/** `max_batch_size` → `MMTRT_MAX_BATCH_SIZE`. */
export function envName(key: string): string {
  return `${ENV_PREFIX}${key.toUpperCase()}`;
}

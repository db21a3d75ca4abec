/** The only place that reads the environment; everything else is handed what it needs. */
export type Environment = Readonly<Record<string, string | undefined>>;

export const ENV_PREFIX = "MMTRT_";
/** Variables of the test suite; they set no option and are let be. */
const TEST_PREFIX = "MMTRT_TEST_";

/** The variables that mean options, or are misspelled ones. */
export function optionVariables(env: Environment): readonly string[] {
  return Object.keys(env).filter(name => name.startsWith(ENV_PREFIX) && !name.startsWith(TEST_PREFIX));
}

export function environment(): Environment {
  return process.env;
}

/** `max_batch_size` → `MMTRT_MAX_BATCH_SIZE`. */
export function envName(key: string): string {
  return `${ENV_PREFIX}${key.toUpperCase()}`;
}

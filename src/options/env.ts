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

/** Which of several processes this is. */
export interface ProcessPlace {
  readonly rank: number;
  readonly size: number;
  /** The variable that says how many there are. */
  readonly from: string;
}

/**
 * Rank and number of processes by launcher: Open MPI, MPICH and Intel MPI (PMI), MVAPICH, Slurm. A batch script that Slurm
 * runs is a task as well, whatever number was asked for; only a step, which srun starts, says how many tasks it has.
 */
const LAUNCHERS = [
  ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"],
  ["PMI_RANK", "PMI_SIZE"],
  ["MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"],
  ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS"],
] as const;

/** What the launcher says; undefined for a process of its own. */
export function launchedAs(env: Environment): ProcessPlace | undefined {
  for (const [rankName, from] of LAUNCHERS) {
    const [rank, size] = [env[rankName], env[from]].map(text => (/^\d{1,6}$/.test(text ?? "") ? Number(text) : -1));
    if (rank === undefined || size === undefined || rank < 0 || size < 0) continue;
    return size > 1 && rank < size ? { rank, size, from } : undefined;
  }
  return undefined;
}

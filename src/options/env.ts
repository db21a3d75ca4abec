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
  /** The same for all processes of one launch and no other on this machine; undefined where the launcher says none. */
  readonly job: string | undefined;
  /** Whether the launcher says that some of them are on other machines. */
  readonly isSpread: boolean;
}

interface Launcher {
  readonly rank: string;
  readonly size: string;
  /** Variables that together name the launch, the best first. */
  readonly jobs: readonly (readonly string[])[];
  /** How many of the processes are on this machine. */
  readonly local: string;
}

const SLURM_STEP = ["SLURM_JOB_ID", "SLURM_STEP_ID"] as const;

/**
 * What launchers say: Open MPI, MPICH and Intel MPI (PMI), MVAPICH, Slurm. A batch script that Slurm runs is a task as
 * well, whatever number was asked for; only a step, which srun starts, says how many tasks it has.
 */
const LAUNCHERS: readonly Launcher[] = [
  {
    rank: "OMPI_COMM_WORLD_RANK",
    size: "OMPI_COMM_WORLD_SIZE",
    jobs: [["PMIX_NAMESPACE"], ["OMPI_MCA_ess_base_jobid"]],
    local: "OMPI_COMM_WORLD_LOCAL_SIZE",
  },
  {
    rank: "PMI_RANK",
    size: "PMI_SIZE",
    jobs: [["PMI_JOBID"], ["PMIX_NAMESPACE"], SLURM_STEP],
    local: "MPI_LOCALNRANKS",
  },
  {
    rank: "MV2_COMM_WORLD_RANK",
    size: "MV2_COMM_WORLD_SIZE",
    jobs: [["MPIRUN_ID"], SLURM_STEP],
    local: "MV2_COMM_WORLD_LOCAL_SIZE",
  },
  { rank: "SLURM_PROCID", size: "SLURM_STEP_NUM_TASKS", jobs: [SLURM_STEP], local: "" },
];

/** What the launcher says; undefined for a process of its own. */
export function launchedAs(env: Environment): ProcessPlace | undefined {
  for (const launcher of LAUNCHERS) {
    const [rank, size] = [count(env[launcher.rank]), count(env[launcher.size])];
    if (rank === undefined || size === undefined) continue;
    if (size < 2 || rank >= size) return undefined;
    const isSpread = (count(env[launcher.local]) ?? size) < size || (count(env.SLURM_STEP_NUM_NODES) ?? 1) > 1;
    return { rank, size, from: launcher.size, job: jobOf(launcher, env), isSpread };
  }
  return undefined;
}

function jobOf({ rank, jobs }: Launcher, env: Environment): string | undefined {
  const names = jobs.find(some => some.every(name => (env[name] ?? "") !== ""));
  return names && [rank, ...names.map(name => env[name])].join(" ");
}

function count(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,6}$/.test(text) ? Number(text) : undefined;
}

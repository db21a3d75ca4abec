import { describe, expect, it } from "vitest";
import { launchedAs } from "../../../src/options/env.ts";

it.each([
  ["Open MPI", { OMPI_COMM_WORLD_RANK: "3", OMPI_COMM_WORLD_SIZE: "4" }, 3, 4],
  ["MPICH", { PMI_RANK: "0", PMI_SIZE: "2" }, 0, 2],
  ["a step of Slurm", { SLURM_PROCID: "7", SLURM_STEP_NUM_TASKS: "8", SLURM_NTASKS: "8" }, 7, 8],
  [
    "Open MPI inside of Slurm",
    { SLURM_PROCID: "0", SLURM_STEP_NUM_TASKS: "1", OMPI_COMM_WORLD_RANK: "1", OMPI_COMM_WORLD_SIZE: "2" },
    1,
    2,
  ],
])("knows its place under %s", (_, env, rank, size) => {
  expect(launchedAs(env)).toMatchObject({ rank, size });
});

it.each([
  ["nobody", {}],
  ["a batch script of Slurm with 8 tasks asked for", { SLURM_PROCID: "0", SLURM_NTASKS: "8" }],
  ["mpirun -n 1", { OMPI_COMM_WORLD_RANK: "0", OMPI_COMM_WORLD_SIZE: "1" }],
  ["values that are no numbers", { PMI_RANK: "first", PMI_SIZE: "two" }],
  ["a rank beyond the last", { PMI_RANK: "2", PMI_SIZE: "2" }],
])("is a process of its own when launched by %s", (_, env) => {
  expect(launchedAs(env)).toBeUndefined();
});

describe("the name of a launch", () => {
  it.each([
    ["Open MPI", { OMPI_COMM_WORLD_RANK: "3", OMPI_COMM_WORLD_SIZE: "4", PMIX_NAMESPACE: "618266625" }, "618266625"],
    ["Hydra under Slurm", { PMI_RANK: "0", PMI_SIZE: "2", SLURM_JOB_ID: "17", SLURM_STEP_ID: "3" }, "17 3"],
    ["srun", { SLURM_PROCID: "1", SLURM_STEP_NUM_TASKS: "2", SLURM_JOB_ID: "17", SLURM_STEP_ID: "0" }, "17 0"],
  ])("is the launcher's own under %s", (_, env, job) => {
    expect(launchedAs(env)?.job).toMatch(new RegExp(` ${job}$`));
  });

  it("is unknown where the launcher says none, or half of it", () => {
    expect(launchedAs({ PMI_RANK: "0", PMI_SIZE: "2", SLURM_JOB_ID: "17" })?.job).toBeUndefined();
  });

  it.each([
    [{ OMPI_COMM_WORLD_RANK: "0", OMPI_COMM_WORLD_SIZE: "4", OMPI_COMM_WORLD_LOCAL_SIZE: "4" }, false],
    [{ OMPI_COMM_WORLD_RANK: "0", OMPI_COMM_WORLD_SIZE: "4", OMPI_COMM_WORLD_LOCAL_SIZE: "2" }, true],
    [{ SLURM_PROCID: "1", SLURM_STEP_NUM_TASKS: "2", SLURM_STEP_NUM_NODES: "2" }, true],
  ])("comes with whether the processes are on several machines: %o", (env, isSpread) => {
    expect(launchedAs(env)?.isSpread).toBe(isSpread);
  });
});

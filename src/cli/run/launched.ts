import { fail } from "../../diagnostics/index.ts";
import { openEngine } from "../../formats/engine-dir.ts";
import { environment, launchedAs, type ProcessPlace } from "../../options/env.ts";

/**
 * Whether this process does the work. Under mpirun or srun there is one process for each rank, and ONNX Runtime runs all
 * ranks in one: the first does, the others have nothing to do.
 * @throws MmtrtError RUN040 when there are not as many processes as ranks.
 */
export async function doesWork(dir: string): Promise<boolean> {
  const place = launchedAs(environment());
  if (place === undefined) return true;
  if (place.rank > 0) return false;
  const { llmParts } = await openEngine(dir);
  if (place.size !== llmParts.length) wrongWorld(place, dir, llmParts.length);
  return true;
}

function wrongWorld({ size, from }: ProcessPlace, dir: string, ranks: number): never {
  return fail({
    code: "RUN040",
    what: `${size} processes were launched and ${dir} has ${ranks} rank${ranks === 1 ? "" : "s"}`,
    at: `${from} (environment)`,
    why: "a launcher starts one process for each rank; with another number the ranks would wait for one another for ever",
    fix: ranks === 1 ? "run it without mpirun or srun" : `mpirun -n ${ranks} mmtrt run …, or without mpirun`,
  });
}

import { type EmittedFile, jobTemplate, quoted, type Wording } from "./emit-files.ts";
import type { JobGroup, MachineNeeds } from "./emit-groups.ts";

/** An array for each group of cells, a job that gathers, and a script that submits them. */
export async function slurmFiles(wording: Wording): Promise<readonly EmittedFile[]> {
  const [build, report, submit] = await Promise.all(
    ["slurm-build.sbatch", "slurm-report.sbatch", "slurm-submit.sh"].map(jobTemplate),
  );
  const { groups, back } = wording.request;
  return [
    ...groups.map(group => ({
      name: `slurm/build-${group.name}.sbatch`,
      text: buildScript(build as string, group, wording),
    })),
    {
      name: "slurm/report.sbatch",
      text: (report as string).replace("matrix matrix.yaml", () => `matrix ${wording.gather}`),
    },
    {
      name: "slurm/submit.sh",
      text: (submit as string).replace('cd "$here/.."', () => `cd "$here"/${quoted(back)}`),
      executable: true,
    },
  ];
}

function buildScript(template: string, group: JobGroup, wording: Wording): string {
  const header = [
    `#SBATCH --job-name=mmtrt-${group.name}`,
    `#SBATCH --array=1-${group.jobs}`,
    ...constraints(group.needs),
  ];
  return (
    template
      .replace("#SBATCH --job-name=mmtrt-build\n#SBATCH --array=1-1", header.join("\n"))
      // Not Slurm's own count: `--array=3` alone runs one task again.
      .replace('$SLURM_ARRAY_TASK_ID/1"', () => `$SLURM_ARRAY_TASK_ID/${group.jobs}"`)
      .replace("matrix matrix.yaml", () => `matrix ${wording.build(group)}`)
  );
}

/** A node has one kind of GPU, named as a feature of the node: `Features=sm90`. */
function constraints({ gpu, sms }: MachineNeeds): readonly string[] {
  if (!gpu) return [];
  const features = sms.map(sm => `sm${sm}`);
  return ["#SBATCH --gres=gpu:1", ...(features.length > 0 ? [`#SBATCH --constraint=${features.join("&")}`] : [])];
}

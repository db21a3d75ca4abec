import { isAbsolute, relative, sep } from "node:path";
import { type Problem, throwIfAny } from "../../diagnostics/index.ts";
import type { Cell } from "./cell.ts";
import { githubFiles, gitlabFiles } from "./emit-ci.ts";
import { type EmitRequest, type EmittedFile, quoted, type Wording } from "./emit-files.ts";
import { patternsFor } from "./emit-groups.ts";
import { kubernetesFiles } from "./emit-kubernetes.ts";
import { slurmFiles } from "./emit-slurm.ts";

export const EMIT_TARGETS = ["github", "gitlab", "slurm", "kubernetes"] as const;
export type EmitTarget = (typeof EMIT_TARGETS)[number];

/** Most jobs that the systems take: a workflow's matrix, `parallel`, MaxArraySize as it comes, and our own bound of shards. */
export const MOST_JOBS: Readonly<Record<EmitTarget, number>> = {
  github: 256,
  gitlab: 200,
  slurm: 1000,
  kubernetes: 4096,
};

const WRITERS: Readonly<Record<EmitTarget, (wording: Wording) => Promise<readonly EmittedFile[]>>> = {
  github: githubFiles,
  gitlab: gitlabFiles,
  slurm: slurmFiles,
  kubernetes: kubernetesFiles,
};

/** Job files with names from the output directory. Reads templates, writes nothing. Errors: MTX022. */
export async function emitJobs(target: EmitTarget, request: EmitRequest): Promise<readonly EmittedFile[]> {
  if (target === "github" || target === "gitlab") throwIfAny(outside(request));
  const { matrixFile, all, cells, extra } = request;
  const only = (own: readonly Cell[]): readonly string[] => {
    const patterns = patternsFor(own, all);
    return patterns.length === 0 ? [] : ["--only", ...patterns];
  };
  const file = quoted(matrixFile);
  return WRITERS[target]({
    request,
    build: group => [file, ...only(group.cells), ...extra.map(quoted)].join(" "),
    gather: [file, ...only(cells)].join(" "),
  });
}

function outside({ matrixFile, outputDir, cacheDir }: EmitRequest): readonly Problem[] {
  const paths = { "the matrix file": matrixFile, output_dir: outputDir, cache_dir: cacheDir };
  return Object.entries(paths).flatMap(([what, path]): Problem[] =>
    isAbsolute(path) || relative(".", path).split(sep)[0] === ".."
      ? [
          {
            code: "MTX022",
            at: path,
            what: `${what} is ${path}, outside of the directory where --emit runs`,
            why: "a job checks out the repository and keeps artefacts and caches inside it",
            fix: "run mmtrt matrix --emit in the repository's root, with paths below it",
          },
        ]
      : [],
  );
}

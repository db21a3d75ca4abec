import type { CodeInfo } from "../code-info.ts";

/** MTX: engine matrix, step cache, lockfile, comparison of directories. */
export const MTX = {
  MTX001: {
    title: "the matrix file names something that it does not define",
    about:
      "model, target and precision of the matrix are names from the sections models, targets and precisions of the same file; precision also takes mmtrt's own words (float16, int8_wo, …).",
  },
  MTX002: {
    title: "not an axis of the matrix",
    about:
      "Axes are model, precision, target and options of mmtrt convert and mmtrt build. exclude, include and when name axes that the matrix has.",
  },
  MTX003: {
    title: "an option that the matrix sets itself",
    about:
      "Directories, workers and printing belong to the whole run: the matrix gives each cell its own checkpoint and engine directory.",
  },
  MTX004: {
    title: "two cells have the same name",
    about:
      "A cell's name is its directory. Cells that differ in an option which is no axis need a name of their own: give the include entry a name.",
  },
  MTX005: {
    title: "no cell is left",
    about: "exclude, --only, --changed_since and --shard together leave nothing to build.",
  },
  MTX006: {
    title: "too many cells",
    about: "The product of the axes is bounded, so that a slip in a list is told at once instead of filling a disk.",
  },
  MTX007: {
    title: "not a cache of this version",
    about:
      "A step cache says its own layout in format.json. A directory with other files in it is never taken for one, and one of another layout is not mixed with this one.",
  },
  MTX008: {
    title: "a step ended without a result",
    about:
      "The process that did the step was killed or failed before it could say why: most often the system was out of memory. The matrix tries again as often as --retries says.",
  },
  MTX009: {
    title: "a step needs more than its budget",
    about:
      "Disk is counted before a step starts, so that no run ends with a full disk in the middle of a write. Raise --disk_budget, free space, or clear the cache with mmtrt cache gc.",
  },
  MTX010: {
    title: "the lockfile does not fit",
    about:
      "--frozen builds exactly what mmtrt.lock describes. Sources, options, tools or plugins have changed since: run without --frozen to write the lockfile anew, or restore what changed.",
  },
  MTX011: {
    title: "the lockfile is missing or cannot be read",
    about: "--frozen and --changed_since need an mmtrt.lock, which a run of mmtrt matrix without --frozen writes.",
  },
  MTX012: {
    title: "damaged entries in the cache",
    about:
      "Files of the cache are not what was written: they are treated as absent, and the step is done again when it is needed. mmtrt cache verify --repair removes them now.",
  },
  MTX013: {
    title: "two directories that cannot be compared",
    about: "mmtrt diff compares two engine directories, or two converted checkpoints.",
  },
  MTX014: {
    title: "the two directories differ",
    about: "mmtrt diff --exit_code ends with 1 when there is a difference, for scripts.",
  },
  MTX015: {
    title: "the output of a step is not what the lockfile says",
    about:
      "Everything but TensorRT's own output is the same, byte for byte, for the same sources, options and versions. Other bytes mean that mmtrt itself was changed without a new version, or that a file was damaged.",
  },
  MTX016: {
    title: "the pinned timing cache is not here",
    about:
      "With --frozen TensorRT chooses kernels by the timing cache of the locked build, which lies in the cache directory. Restore that directory, or run without --frozen to choose anew.",
    exit: 3,
  },
  MTX017: {
    title: "job files are there already",
    about:
      "`mmtrt matrix --emit` writes files that people adapt to their machines, so it overwrites none. Move the old ones away, or name another --output.",
  },
  MTX018: {
    exit: 2,
    title: "a number of jobs that does not fit",
    about:
      "Each job has a cell at least, cells for different GPUs are in different jobs, and every system has a limit: 256 jobs in a GitHub workflow, 200 parallel jobs in GitLab, 1000 tasks in a Slurm array of default size.",
  },
  MTX019: {
    exit: 2,
    title: "options of a matrix that do not go together",
    about:
      "--emit writes job files and builds nothing, --gather reads what jobs wrote and builds nothing. --output and --jobs belong to --emit; options of a build belong to neither.",
  },
  MTX020: {
    title: "not the result of a job",
    about:
      "--gather reads what `mmtrt matrix FILE --shard I/N --json` printed, by the same mmtrt and for the same cells. A file without a result is of a job that was killed or ran out of time.",
  },
  MTX021: {
    title: "no job reported on a cell",
    about:
      "The job with this cell never ran or ended without a result: it was cancelled, lost its machine or ran out of time. What it had done is in the cache; start it again.",
  },
  MTX022: {
    title: "a path that a job cannot see",
    about:
      "Jobs of GitHub and GitLab see the repository alone, and keep caches and artefacts inside it. The matrix file, output_dir and cache_dir have to lie below the directory where --emit runs.",
  },
} as const satisfies Record<string, CodeInfo>;

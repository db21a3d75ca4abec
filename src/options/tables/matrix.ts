import { defineOptions, type Values } from "../define.ts";

export const matrixOptions = defineOptions({
  matrix_file: {
    type: "path",
    required: true,
    positional: true,
    group: "Matrix",
    placeholder: "FILE",
    about: "YAML file with models, axes and options; the cells are the product of the axes.",
  },
  only: {
    type: "string",
    list: true,
    group: "Matrix",
    placeholder: "PATTERN",
    about: "Build the cells whose name fits one of these (* for anything), or whose axis has the value (model=llava).",
  },
  changed_since: {
    type: "string",
    group: "Matrix",
    placeholder: "REF",
    about:
      "Build the cells that changed since this lockfile, or since the one of this git revision: other sources, options, tools, or not in it.",
  },
  shard: {
    type: "string",
    group: "Matrix",
    placeholder: "I/N",
    about:
      "Build the I-th of N parts of the cells (1/4 … 4/4), on machines that may share a cache. Neighbours share the most steps.",
  },
  keep_going: {
    type: "boolean",
    default: false,
    group: "Matrix",
    about: "After a failure go on with every cell that does not need what failed.",
  },
  plan: {
    type: "boolean",
    default: false,
    aliases: [{ name: "dry_run" }],
    group: "Matrix",
    about: "Show cells and which steps are in the cache, and build nothing.",
  },
  explain: {
    type: "boolean",
    default: false,
    group: "Matrix",
    about: "Say of each step that is done why it is: what changed since it was done before.",
  },

  workers: {
    type: "integer",
    minimum: 1,
    maximum: 256,
    words: ["auto"],
    default: "auto",
    group: "Work",
    about: "Steps done at the same time. auto is the number of processor cores.",
  },
  memory_budget: {
    type: "number",
    minimum: 0,
    maximum: 1 << 20,
    words: ["auto"],
    default: "auto",
    group: "Work",
    placeholder: "GIB",
    about: "Host memory that steps may take together by estimate, in GiB. auto is four fifths of what is free.",
  },
  disk_budget: {
    type: "number",
    minimum: 0,
    maximum: 1 << 30,
    words: ["auto"],
    default: "auto",
    group: "Work",
    placeholder: "GIB",
    about: "Most that this run may write, in GiB. auto is what is free where the cache is.",
  },
  gpu_budget: {
    type: "integer",
    minimum: 0,
    maximum: 1024,
    words: ["auto"],
    default: "auto",
    group: "Work",
    about: "GPUs for builders that time kernels on one (backend tensorrt), each step one of its own. auto is all.",
  },
  retries: {
    type: "integer",
    minimum: 0,
    maximum: 10,
    default: 1,
    group: "Work",
    about:
      "Times that a step is tried again, alone, after a failure that may pass: a tool that was killed, a file server that was away.",
  },
  cache_dir: {
    type: "path",
    group: "Work",
    placeholder: "DIR",
    about: "Where results of steps are kept; several machines may share it. Beats cache_dir of the file.",
  },

  emit: {
    type: "string",
    enum: ["github", "gitlab", "slurm", "kubernetes"],
    group: "Many machines",
    about:
      "Write job files for this system instead of building: jobs by --shard on machines with the GPUs that their cells need, caches and artefacts, and a job that gathers the report.",
  },
  output: {
    type: "path",
    default: ".",
    group: "Many machines",
    placeholder: "DIR",
    about:
      "Where --emit puts .github/workflows/mmtrt-matrix.yml, mmtrt-matrix.gitlab-ci.yml, slurm/ or kubernetes/. Run it in the directory that the jobs will run in.",
  },
  jobs: {
    type: "integer",
    minimum: 1,
    maximum: 4096,
    words: ["auto"],
    default: "auto",
    group: "Many machines",
    about: "Jobs that --emit spreads the cells over. auto is one for each cell, as far as the system allows.",
  },
  gather: {
    type: "path",
    list: true,
    commas: false,
    group: "Many machines",
    placeholder: "FILE.ndjson",
    about:
      "Make one report of what jobs printed with --json, and build nothing. A cell that no job reported on is an error.",
  },

  frozen: {
    type: "boolean",
    default: false,
    group: "Lockfile",
    about:
      "Refuse to build anything but what mmtrt.lock describes: other sources, options, tools or plugins are errors that name them.",
  },
  lock: {
    type: "boolean",
    default: true,
    group: "Lockfile",
    about: "Write mmtrt.lock after the run: sources, options and tools of every cell that was built.",
  },

  junit: {
    type: "path",
    group: "Reports",
    placeholder: "FILE.xml",
    about: "Write JUnit XML, one test case for each cell.",
  },
  markdown: {
    type: "path",
    group: "Reports",
    placeholder: "FILE.md",
    about: "Write a summary as Markdown; added to the end of the file where it exists, as CI's step summaries want it.",
  },
  html: {
    type: "path",
    group: "Reports",
    placeholder: "FILE.html",
    about: "Write a page for the browser: cells, what took the time, sizes, and what every worker did when.",
  },
});

export type MatrixOptions = Values<typeof matrixOptions>;

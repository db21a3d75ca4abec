import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, existsSync, readdirSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { type Finished, program, Rig } from "../support/rig.ts";
import { ROOT } from "../support/sources.ts";

const MODELS = join(ROOT, "test/fixtures/models");
const MATRIX = `
models:
  llava: ${MODELS}/llava-shapes
  gpt2: ${MODELS}/gpt2-shapes
matrix:
  precision: [float32, float16]
exclude: [{ model: gpt2, precision: float16 }]
`;
const NAMES = ["llava-float32", "llava-float16", "gpt2-float32"];

let rigs: Rig[] = [];
const rigWith = (text = MATRIX): Rig => {
  const rig = new Rig();
  rig.file("matrix.yaml", text);
  rigs.push(rig);
  return rig;
};
afterEach(() => {
  for (const rig of rigs) rig.close();
  rigs = [];
});

const matrix = (rig: Rig, ...argv: string[]): Promise<Finished> => rig.run(["matrix", "matrix.yaml", ...argv]);

async function emitted(rig: Rig, target: string, ...argv: string[]): Promise<void> {
  const ended = await matrix(rig, "--emit", target, ...argv);
  expect(ended.code, ended.stderr).toBe(0);
}

/** mmtrt on PATH, and an npx that starts it whatever version is asked for. */
function pathWithMmtrt(rig: Rig): string {
  const start = `exec ${process.execPath} ${program()}`;
  for (const [name, text] of [
    ["mmtrt", `${start} "$@"`],
    ["npx", `shift 2\n${start} "$@"`],
  ] as const)
    chmodSync(rig.file(`bin/${name}`, `#!/bin/sh\n${text}\n`), 0o755);
  return [join(rig.dir, "bin"), process.env.PATH].join(delimiter);
}

/** As the runner of a CI system does it: bash, stopping at the first failure. */
function bash(rig: Rig, script: string, env: Readonly<Record<string, string>> = {}): string {
  return execFileSync("bash", ["-e", "-o", "pipefail", "-c", script], {
    cwd: rig.dir,
    env: { HOME: rig.dir, PATH: pathWithMmtrt(rig), ...env },
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
}

const isHere = (tool: string): boolean =>
  spawnSync("sh", ["-c", `PATH=$PATH:/usr/sbin command -v ${tool}`]).status === 0;

function expectReport(rig: Rig, dir: string): void {
  const xml = readFileSync(join(rig.dir, dir, "report.xml"), "utf8");
  expect([...xml.matchAll(/<testcase [^>]* name="([^"]*)"/g)].map(([, name]) => name)).toEqual(NAMES);
  expect(xml).toContain('failures="0"');
  expect(readdirSync(join(rig.dir, "engines")).sort()).toEqual([...NAMES].sort());
}

describe("mmtrt matrix --emit", () => {
  it("writes GitLab jobs whose commands build every cell once and report on all", async () => {
    const rig = rigWith();
    await emitted(rig, "gitlab", "--jobs", "2");
    const jobs = parse(readFileSync(join(rig.dir, "mmtrt-matrix.gitlab-ci.yml"), "utf8"));
    expect(jobs["build-cpu"].parallel).toBe(2);
    for (const CI_NODE_INDEX of ["1", "2"])
      bash(rig, jobs["build-cpu"].script.join("\n"), { CI_NODE_INDEX, CI_NODE_TOTAL: "2" });
    const text = bash(rig, jobs.report.script.join("\n"));
    expect(text).toMatch(/3 cells ready/);
    expectReport(rig, ".");
    const html = readFileSync(join(rig.dir, "report.html"), "utf8");
    for (const name of NAMES) expect(html).toContain(name);
  });

  it("writes GitHub jobs and Kubernetes pods whose commands do the same", async () => {
    const rig = rigWith();
    await emitted(rig, "github", "--jobs", "2");
    const { jobs } = parse(readFileSync(join(rig.dir, ".github/workflows/mmtrt-matrix.yml"), "utf8"));
    const runs = (job: string, shard: number): string =>
      jobs[job].steps
        .flatMap(({ run }: { run?: string }) => run ?? [])
        .join("\n")
        .replaceAll(/\$\{\{ matrix\.shard \}\}/g, String(shard));
    for (const shard of jobs["build-cpu"].strategy.matrix.shard) bash(rig, runs("build-cpu", shard));
    bash(rig, runs("report", 1), { GITHUB_STEP_SUMMARY: join(rig.dir, "summary.md") });
    expectReport(rig, ".");
    expect(readFileSync(join(rig.dir, "summary.md"), "utf8")).toContain("### Engine matrix");

    await emitted(rig, "kubernetes", "--jobs", "3");
    const containerOf = (text: string): { args: string[]; env: { name: string; value: string }[] } =>
      parseAllDocuments(text)[0]?.toJS().spec.template.spec.containers[0];
    const build = containerOf(readFileSync(join(rig.dir, "kubernetes/build.yaml"), "utf8"));
    const env = Object.fromEntries(build.env.map(({ name, value }) => [name, value]));
    for (const JOB_COMPLETION_INDEX of ["0", "1", "2"])
      bash(rig, build.args.join("\n"), { ...env, JOB_COMPLETION_INDEX });
    bash(rig, containerOf(readFileSync(join(rig.dir, "kubernetes/report.yaml"), "utf8")).args.join("\n"));
    expectReport(rig, "mmtrt-results/run-id");
  });

  it("writes a Slurm task that ends well with a cell that fails, which is the report's to say", async () => {
    const rig = rigWith(`${MATRIX}overrides: [{ when: { model: gpt2 }, max_seq_len: 100000 }]\n`);
    await emitted(rig, "slurm", "--jobs", "1");
    rig.file("results/.keep", "");
    const env = { SLURM_JOB_NAME: "mmtrt-cpu", SLURM_ARRAY_TASK_ID: "1", SLURM_MEM_PER_NODE: "2048" };
    bash(rig, "bash slurm/build-cpu.sbatch results", env);
    expect(() => bash(rig, "bash slurm/report.sbatch results")).toThrow();
    const xml = readFileSync(join(rig.dir, "results/report.xml"), "utf8");
    expect(xml).toMatch(/failures="1".*name="gpt2-float32".*100000/s);
    expect(readdirSync(join(rig.dir, "engines")).sort()).toEqual(["llava-float16", "llava-float32"]);
    // A task that cannot even start is the machine's failure.
    expect(() => bash(rig, "bash slurm/build-cpu.sbatch results", { ...env, SLURM_ARRAY_TASK_ID: "7" })).toThrow();
  });

  it("writes a script for Kubernetes that starts the report when every build has ended", async () => {
    const rig = rigWith();
    await emitted(rig, "kubernetes");
    // Stands in for a cluster: says what it was asked, makes names of what it reads, lets the build fail.
    const kubectl = `#!/bin/sh
echo "$@" >> asked
case "$1" in
  create) sed -n 's|^  name: |job.batch/|p' ;;
  wait) case "$*" in *complete*build* | *complete*cpu* | *failed*report*) exit 1 ;; esac ;;
  logs) echo 3 cells ready ;;
esac
`;
    chmodSync(rig.file("bin/kubectl", kubectl), 0o755);
    const text = bash(rig, "kubernetes/submit.sh --namespace engines");
    expect(text).toMatch(/^3 cells ready\nmmtrt-results\/\d{8}-\d{6} on the claim mmtrt\n$/);
    const asked = readFileSync(join(rig.dir, "asked"), "utf8")
      .replaceAll(/\d{8}-\d{6}/g, "RUN")
      .trim()
      .split("\n");
    expect(asked).toEqual([
      "create --namespace engines --output=name --filename=-",
      "wait --namespace engines --for=condition=complete --timeout=20s job.batch/mmtrt-cpu-RUN",
      "wait --namespace engines --for=condition=failed --timeout=1s job.batch/mmtrt-cpu-RUN",
      "create --namespace engines --output=name --filename=-",
      "wait --namespace engines --for=condition=complete --timeout=20s job.batch/mmtrt-report-RUN",
      "logs --namespace engines job.batch/mmtrt-report-RUN",
    ]);
  });

  it("refuses a system that it does not know, files that are there, and counts that do not fit", async () => {
    const rig = rigWith();
    const refused = async (...argv: string[]): Promise<string> => {
      const { code, stderr } = await matrix(rig, ...argv);
      expect(code, stderr).not.toBe(0);
      return stderr;
    };
    expect(await refused("--emit", "gitlap")).toMatch(/CFG002.*gitlab/s);
    expect(await refused("--emit", "github", "--jobs", "4")).toMatch(/MTX018.*4 jobs for 3 cells.*--jobs 3/s);
    expect(await refused("--emit", "slurm", "--shard", "1/2")).toMatch(/MTX019.*--shard does not go with --emit/s);
    expect(await refused("--jobs", "2")).toMatch(/MTX019.*--jobs is given without --emit/s);
    await emitted(rig, "slurm", "--output", "deep/er");
    const before = readFileSync(join(rig.dir, "deep/er/slurm/submit.sh"), "utf8");
    expect(before).toContain('cd "$here"/../../..\n');
    expect(await refused("--emit", "slurm", "--output", "deep/er", "--jobs", "1")).toMatch(
      /MTX017.*deep\/er\/slurm is there already/s,
    );
    expect(readFileSync(join(rig.dir, "deep/er/slurm/submit.sh"), "utf8")).toBe(before);
    expect(existsSync(join(rig.dir, "engines"))).toBe(false);
  });

  it("writes files that pass the official schemas and shellcheck, where those are installed", async context => {
    const tools = ["check-jsonschema", "kubernetes-validate", "shellcheck"].filter(isHere);
    if (tools.length === 0)
      return context.skip("needs check-jsonschema, kubernetes-validate or shellcheck (all on PyPI)");
    const rig = rigWith(`${MATRIX}
include:
  - { name: on-hopper, model: gpt2, backend: tensorrt, compute_capabilities: 90 }
  - { name: for-ada, model: gpt2, backend: tensorrt_rtx, compute_capabilities: 89 }
`);
    for (const target of ["github", "gitlab", "slurm", "kubernetes"]) await emitted(rig, target);
    const checks: Readonly<Record<string, readonly string[]>> = {
      "check-jsonschema": [
        "check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/mmtrt-matrix.yml",
        "check-jsonschema --builtin-schema vendor.gitlab-ci --data-transform gitlab-ci mmtrt-matrix.gitlab-ci.yml",
      ],
      "kubernetes-validate": ["kubernetes-validate --strict kubernetes/build.yaml kubernetes/report.yaml"],
      shellcheck: ["shellcheck slurm/* kubernetes/*.sh"],
    };
    for (const tool of tools) for (const check of checks[tool] ?? []) bash(rig, check);
  });
});

describe("mmtrt matrix --gather", () => {
  it("reports a cell that no job reported on, and ends with an error", async () => {
    const rig = rigWith();
    const first = await matrix(rig, "--shard", "1/3", "--json");
    rig.file("1.ndjson", first.stdout.replaceAll("<dir>", rig.dir));
    const killed = first.stdout.split("\n").filter(line => !line.includes('"event":"result"'));
    rig.file("2.ndjson", killed.join("\n"));
    const ended = await matrix(rig, "--gather", "1.ndjson", "2.ndjson", "3.ndjson", "--junit", "report.xml");
    expect(ended.code).toBe(1);
    expect(ended.stdout).toMatch(/2 of 3 cells not built/);
    expect(ended.stderr).toMatch(/MTX020.*2\.ndjson.*no line with a result/s);
    expect(ended.stderr).toMatch(/MTX020.*3\.ndjson.*it is not there/s);
    expect(ended.stderr).toMatch(/MTX021.*no job reported on llava-float16/s);
    expect(readFileSync(join(rig.dir, "report.xml"), "utf8")).toMatch(/failures="2".*MTX021/s);
  });

  it("takes a step from the job that did it, and nothing from another matrix or a file that was changed", async () => {
    const rig = rigWith();
    const whole = await matrix(rig, "--json");
    const warm = await matrix(rig, "--json");
    rig.file("warm.ndjson", warm.stdout);
    rig.file("cold.ndjson", whole.stdout);
    const both = await matrix(rig, "--gather", "warm.ndjson", "cold.ndjson", "--json");
    expect(both.code, both.stdout).toBe(0);
    const result = JSON.parse(both.stdout.trim().split("\n").at(-1) ?? "");
    expect(new Set(result.steps.map(({ state }: { state: string }) => state))).toEqual(new Set(["done"]));
    expect(result.cells.map(({ state }: { state: string }) => state)).toEqual(["built", "built", "built"]);

    rig.file("broken.ndjson", whole.stdout.replace(/("event":"result".*?"workers":)/, "$1-"));
    const broken = await matrix(rig, "--gather", "broken.ndjson");
    expect([broken.code, broken.stderr]).toEqual([1, expect.stringMatching(/MTX020.*workers/s)]);
    const other = await matrix(rig, "--only", "gpt2-float32", "--gather", "cold.ndjson");
    expect([other.code, other.stderr]).toEqual([1, expect.stringMatching(/MTX020.*llava-float32 is no cell/s)]);
  });
});

describe("a Slurm cluster of this machine", () => {
  it("runs the array on one cache and then the report; a node without the GPU takes no job for it", async context => {
    const missing = ["slurmctld", "slurmd", "munged", "sbatch"].filter(tool => !isHere(tool));
    if (missing.length > 0) return context.skip(`needs Debian's slurm-wlm and munge; ${missing.join(", ")} is missing`);
    const rig = rigWith(`${MATRIX}
include: [{ name: on-hopper, model: gpt2, backend: tensorrt, compute_capabilities: 90 }]
`);
    await emitted(rig, "slurm", "--only", "precision=*", "--jobs", "3");
    await emitted(rig, "slurm", "--only", "on-hopper", "--output", "other");
    const script = `
slurm/submit.sh --cpus-per-task=1
sbatch --test-only --gres=gpu:1 --constraint=sm86 --wrap true
! sbatch --test-only other/slurm/build-gpu-sm90.sbatch results 2> refused
`;
    bash(rig, `${join(ROOT, "scripts/slurm-on-one-machine.sh")} bash -e -c '${script.replaceAll("'", "'\\''")}'`);
    const [run] = readdirSync(join(rig.dir, "mmtrt-results"));
    expectReport(rig, join("mmtrt-results", run ?? ""));
    // Tasks that ran side by side did nothing twice.
    const results = join(rig.dir, "mmtrt-results", run ?? "");
    const keys = readdirSync(results)
      .filter(name => name.endsWith(".ndjson"))
      .flatMap(name => readFileSync(join(results, name), "utf8").trim().split("\n"))
      .map(line => JSON.parse(line))
      .filter(({ event, state }) => event === "step" && state === "done")
      .map(({ kind, key }) => `${kind} ${key}`);
    expect(new Set(keys).size).toBe(keys.length);
    expect(keys.filter(key => key.startsWith("cell "))).toHaveLength(3);
    expect(readFileSync(join(rig.dir, "refused"), "utf8")).toMatch(/Invalid feature/);
    const again = await matrix(rig, "--only", "precision=*", "--json");
    const { steps } = JSON.parse(again.stdout.trim().split("\n").at(-1) ?? "");
    expect(new Set(steps.map(({ state }: { state: string }) => state))).toEqual(new Set(["cached"]));
    expect((await rig.run(["cache", "verify"])).stdout).toMatch(/ 0 damaged/);
  }, 120_000);
});

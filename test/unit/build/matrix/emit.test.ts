import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import type { Cell } from "../../../../src/build/matrix/cell.ts";
import { EMIT_TARGETS, type EmitTarget, emitJobs, MOST_JOBS } from "../../../../src/build/matrix/emit.ts";
import type { EmitRequest } from "../../../../src/build/matrix/emit-files.ts";
import { groupsOf, patternsFor, spread } from "../../../../src/build/matrix/emit-groups.ts";
import { expandMatrix } from "../../../../src/build/matrix/expand.ts";
import { readMatrix } from "../../../../src/build/matrix/read.ts";
import { onlyCells } from "../../../../src/build/matrix/select.ts";
import { matrixOptions } from "../../../../src/options/tables/matrix.ts";
import { GITHUB, GITLAB, KUBERNETES_JOB } from "../../../support/job-schemas.ts";
import { Workspace } from "../../../support/pipeline.ts";

const work = new Workspace();

const MIXED = `
models: { a: x/a, b: x/b }
targets:
  cpu: { backend: onnxruntime }
  rtx: { backend: tensorrt_rtx, compute_capabilities: [120, 8.6] }
  hopper: { backend: tensorrt, compute_capabilities: 90 }
  here: { backend: tensorrt }
matrix: { target: [cpu, rtx, hopper, here], max_batch_size: [1, 3, 19] }
`;

let all: readonly Cell[];
beforeAll(async () => {
  const file = join(await work.dir(), "m.yaml");
  await writeFile(file, MIXED);
  all = expandMatrix(await readMatrix(file, "FILE"));
  await work.clean();
});

async function emitted(target: EmitTarget, more: Partial<EmitRequest> = {}): Promise<Readonly<Record<string, string>>> {
  const groups = groupsOf(more.cells ?? all, { jobs: 9, limit: MOST_JOBS[target], at: "--jobs" });
  const files = await emitJobs(target, {
    matrixFile: "ci/my matrix.yaml",
    outputDir: "out/engines",
    cacheDir: ".mmtrt/cache",
    all,
    cells: all,
    groups,
    extra: ["--retries=2"],
    version: "1.2.3",
    back: "../..",
    ...more,
  });
  return Object.fromEntries(files.map(({ name, text }) => [name, text]));
}

const refusal = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    return String(error);
  }
  return "nothing";
};

function faults(schema: object, data: unknown): unknown {
  const check = new Ajv2020({ allErrors: true, allowUnionTypes: true }).compile(schema);
  return check(data) ? [] : check.errors;
}

describe("the groups of jobs", () => {
  it("are one for each kind of machine that cells need", async () => {
    const groups = groupsOf(all, { jobs: "auto", limit: 256, at: "--jobs" });
    expect(groups.map(({ name, jobs, needs }) => [name, jobs, needs.gpu, needs.sms])).toEqual([
      ["cpu", 6, false, []],
      ["rtx-sm86-sm120", 6, false, [86, 120]],
      ["gpu-sm90", 6, true, [90]],
      ["gpu", 6, true, []],
    ]);
  });

  it("keep their names short where engines are for many GPUs, and apart", () => {
    const [cell] = all as [Cell];
    const sms = [75, 80, 86, 89, 90, 100];
    const withSms = (given: number[]): Cell => ({
      ...cell,
      build: { ...cell.build, backend: "tensorrt_rtx", compute_capabilities: given },
    });
    const cells = [withSms(sms), withSms([...sms.slice(1), 120]), withSms([...sms].reverse())];
    const groups = groupsOf(cells, { jobs: "auto", limit: 256, at: "--jobs" });
    expect(groups.map(group => group.cells.length)).toEqual([2, 1]);
    for (const { name } of groups) expect(name).toMatch(/^rtx-6sms-[0-9a-f]{6}$/);
  });

  it("refuse more jobs than cells, fewer than kinds of machines, and more than the system takes", async () => {
    const asked = (jobs: number, limit = 256) => refusal(() => groupsOf(all, { jobs, limit, at: "--jobs" }));
    expect(asked(24)).toBe("nothing");
    expect(asked(25)).toMatch(/MTX018.*25 jobs for 24 cells/s);
    expect(asked(3)).toMatch(/MTX018.*3 jobs for 4 kinds of machines: cpu, rtx-sm86-sm120, gpu-sm90, gpu/s);
    expect(asked(20, 19)).toMatch(/MTX018.*20 jobs; the system takes 19/s);
    expect(groupsOf(all, { jobs: "auto", limit: 19, at: "" }).reduce((sum, { jobs }) => sum + jobs, 0)).toBe(19);
  });

  it("share jobs so that none is empty and no other split has a shorter longest job", () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(sizes, fc.nat(20), (cells, more) => {
        const total = Math.min(
          cells.length + more,
          cells.reduce((sum, n) => sum + n, 0),
        );
        const jobs = spread(total, cells);
        expect(jobs.reduce((sum, n) => sum + n, 0)).toBe(total);
        const load = (split: readonly number[]): number => Math.max(...cells.map((n, i) => n / (split[i] as number)));
        expect(jobs.every((n, i) => n >= 1 && n <= (cells[i] as number))).toBe(true);
        for (const other of splits(total, cells.length)) expect(load(jobs)).toBeLessThanOrEqual(load(other));
      }),
    );
  });

  it("are named by --only so that exactly their cells are built", async () => {
    expect(patternsFor(all, all)).toEqual([]);
    expect(
      patternsFor(
        all.filter(cell => cell.axes.target === "rtx"),
        all,
      ),
    ).toEqual(["target=rtx"]);
    fc.assert(
      fc.property(fc.subarray([...all], { minLength: 1 }), own => {
        const patterns = patternsFor(own, all);
        if (patterns.length > 0) expect(onlyCells(all, patterns, "--only")).toEqual(own);
        else expect(own).toEqual(all);
      }),
    );
  });
});

/** Every way to give `total` jobs to `count` groups, one each at least. */
function splits(total: number, count: number): readonly (readonly number[])[] {
  if (count === 1) return [[total]];
  return Array.from({ length: total - count + 1 }, (_, i) => i + 1).flatMap(first =>
    splits(total - first, count - 1).map(rest => [first, ...rest]),
  );
}

describe("the job files", () => {
  it("are for the systems that the option names", () => {
    expect(matrixOptions.emit.enum).toEqual(EMIT_TARGETS);
  });

  it("of GitHub fit the workflow format, with labels for the GPU and a shard of every job", async () => {
    const workflow = parse((await emitted("github"))[".github/workflows/mmtrt-matrix.yml"] ?? "");
    expect(faults(GITHUB, workflow)).toEqual([]);
    expect(Object.keys(workflow.jobs)).toEqual([
      "build-cpu",
      "build-rtx-sm86-sm120",
      "build-gpu-sm90",
      "build-gpu",
      "report",
    ]);
    const job = workflow.jobs["build-gpu-sm90"];
    expect(job["runs-on"]).toEqual(["self-hosted", "linux", "gpu", "tensorrt", "sm90"]);
    expect(job.strategy.matrix.shard).toEqual([1, 2]);
    const commands = job.steps.flatMap(({ run }: { run?: string }) => run ?? []);
    expect(commands.at(-1)).toBe(
      `npx --yes mmtrt@1.2.3 matrix 'ci/my matrix.yaml' --only target=hopper --retries=2 --keep_going --no_lock --shard "\${{ matrix.shard }}/2" --json > "mmtrt-results/gpu-sm90-\${{ matrix.shard }}.ndjson"`,
    );
    const paths = job.steps.flatMap((step: { with?: { path?: string } }) => step.with?.path ?? []);
    expect(paths).toContain("out/engines\n");
    expect(paths.filter((path: string) => path.startsWith(".mmtrt/cache\n"))).toHaveLength(2);
    expect(workflow.jobs.report.needs).toEqual(Object.keys(workflow.jobs).slice(0, -1));
  });

  it("of GitLab fit its format, with tags for the GPU and caches inside the project", async () => {
    const text = (await emitted("gitlab"))["mmtrt-matrix.gitlab-ci.yml"] ?? "";
    const jobs = parse(text);
    expect(faults(GITLAB, jobs)).toEqual([]);
    expect(text).toMatch(/^# Written by/);
    expect(jobs["build-gpu-sm90"].tags).toEqual(["gpu", "tensorrt", "sm90"]);
    expect(jobs["build-rtx-sm86-sm120"].tags).toEqual(["tensorrt_rtx"]);
    expect(jobs["build-cpu"].tags).toBeUndefined();
    expect(jobs["build-cpu"].parallel).toBe(3);
    expect(jobs["build-cpu"].artifacts.paths).toEqual(["mmtrt-results", "out/engines"]);
    expect(jobs.report.needs).toEqual(["build-cpu", "build-rtx-sm86-sm120", "build-gpu-sm90", "build-gpu"]);
  });

  it("of Kubernetes are Jobs, each on nodes with the GPU that its engines are for", async () => {
    const files = await emitted("kubernetes");
    const jobs = parseAllDocuments(files["kubernetes/build.yaml"] ?? "").map(one => one.toJS());
    for (const job of [...jobs, parse(files["kubernetes/report.yaml"] ?? "")])
      expect(faults(KUBERNETES_JOB, job)).toEqual([]);
    expect(jobs.map(({ spec }) => spec.completions)).toEqual([3, 2, 2, 2]);
    const specs = jobs.map(({ spec }) => spec.template.spec);
    expect(specs.map(({ nodeSelector }) => nodeSelector)).toEqual([
      undefined,
      undefined,
      { "nvidia.com/gpu.compute.major": "9", "nvidia.com/gpu.compute.minor": "0" },
      undefined,
    ]);
    expect(specs.map(({ containers: [own] }) => own.resources?.limits["nvidia.com/gpu"])).toEqual([
      undefined,
      undefined,
      1,
      1,
    ]);
    expect(specs[0].containers[0].image).toBe("mmtrt:1.2.3");
  });

  it("of Slurm are an array for each kind of node, its tasks counted in the shard", async () => {
    const files = await emitted("slurm");
    expect(Object.keys(files).sort()).toEqual([
      "slurm/build-cpu.sbatch",
      "slurm/build-gpu-sm90.sbatch",
      "slurm/build-gpu.sbatch",
      "slurm/build-rtx-sm86-sm120.sbatch",
      "slurm/report.sbatch",
      "slurm/submit.sh",
    ]);
    const header = (name: string) => files[`slurm/${name}.sbatch`]?.match(/^#SBATCH .*$/gm);
    expect(header("build-gpu-sm90")).toEqual([
      "#SBATCH --job-name=mmtrt-gpu-sm90",
      "#SBATCH --array=1-2",
      "#SBATCH --gres=gpu:1",
      "#SBATCH --constraint=sm90",
    ]);
    expect(header("build-gpu")?.at(-1)).toBe("#SBATCH --gres=gpu:1");
    expect(header("build-cpu")).toEqual(["#SBATCH --job-name=mmtrt-cpu", "#SBATCH --array=1-3"]);
    expect(files["slurm/build-cpu.sbatch"]).toContain(`--shard "$SLURM_ARRAY_TASK_ID/3"`);
    expect(files["slurm/submit.sh"]).toContain(`cd "$here"/../..\n`);
  });

  it("name no path that a job of GitHub or GitLab cannot see", async () => {
    for (const target of ["github", "gitlab"] as const) {
      await expect(emitted(target, { outputDir: "../engines" })).rejects.toThrow(
        /MTX022.*output_dir is \.\.\/engines/s,
      );
      await expect(emitted(target, { cacheDir: "/shared/cache" })).rejects.toThrow(/MTX022.*cache_dir/s);
    }
    expect(Object.keys(await emitted("slurm", { cacheDir: "/shared/cache" }))).toHaveLength(6);
  });
});

import { type Document, isMap, isScalar, parseDocument, visit, type YAMLMap } from "yaml";
import { type EmittedFile, jobTemplate, type Wording } from "./emit-files.ts";
import type { JobGroup, MachineNeeds } from "./emit-groups.ts";

/** One job with a matrix for each group of cells, and one that gathers. */
export async function githubFiles(wording: Wording): Promise<readonly EmittedFile[]> {
  const document = parseDocument(await jobTemplate("github.yml"));
  const groups = wording.request.groups;
  const { build, report } = take(document, ["jobs"], wording);
  for (const group of groups) {
    const job = own(build, group, wording);
    // A label that every machine has would take cells to machines that cannot build them.
    if (group.needs.backend !== "onnxruntime")
      job.set("runs-on", document.createNode(["self-hosted", "linux", ...labelsOf(group.needs)], { flow: true }));
    job.setIn(["strategy", "matrix", "shard"], document.createNode(countTo(group.jobs), { flow: true }));
    document.setIn(["jobs", `build-${group.name}`], job);
  }
  report.set("needs", document.createNode(namesOf(groups, "build-"), { flow: true }));
  document.setIn(["jobs", "report"], report);
  return [{ name: ".github/workflows/mmtrt-matrix.yml", text: written(document) }];
}

export async function gitlabFiles(wording: Wording): Promise<readonly EmittedFile[]> {
  const document = parseDocument(await jobTemplate("gitlab-ci.yml"));
  const groups = wording.request.groups;
  const { build, report } = take(document, [], wording);
  for (const group of groups) {
    const job = own(build, group, wording);
    if (group.needs.backend !== "onnxruntime")
      job.set("tags", document.createNode(labelsOf(group.needs), { flow: true }));
    job.set("parallel", group.jobs);
    document.setIn([`build-${group.name}`], job);
  }
  report.set("needs", document.createNode(namesOf(groups, "build-"), { flow: true }));
  document.setIn(["report"], report);
  return [{ name: "mmtrt-matrix.gitlab-ci.yml", text: written(document) }];
}

/** An engine of TensorRT runs on the SM that it was built on, so the machine must have that one. */
function labelsOf({ backend, gpu, sms }: MachineNeeds): readonly string[] {
  return gpu ? ["gpu", backend, ...sms.map(sm => `sm${sm}`)] : [backend];
}

/** The template's two jobs, taken out of it; the build is cloned for each group. */
function take(
  document: Document,
  path: readonly string[],
  wording: Wording,
): { readonly build: YAMLMap; readonly report: YAMLMap } {
  const jobs = ["build", "report"].map(name => {
    const job = document.getIn([...path, name], true);
    if (!isMap(job)) throw new Error(`the template has no job ${name}`);
    document.deleteIn([...path, name]);
    return job;
  });
  const [build, report] = jobs as [YAMLMap, YAMLMap];
  replaceText(report, [["matrix matrix.yaml", `matrix ${wording.gather}`], version(wording)]);
  return { build, report };
}

function own(build: YAMLMap, group: JobGroup, wording: Wording): YAMLMap {
  const job = build.clone() as YAMLMap;
  replaceText(job, [
    ["matrix matrix.yaml", `matrix ${wording.build(group)}`],
    ["GROUP", group.name],
    // GitHub's own strategy.job-total would do as long as nobody adds an axis to the job.
    ['matrix.shard }}/1"', `matrix.shard }}/${group.jobs}"`],
    version(wording),
  ]);
  replaceLines(job, { engines: wording.request.outputDir, ".mmtrt/cache": wording.request.cacheDir });
  return job;
}

function version({ request }: Wording): readonly [string, string] {
  return ["mmtrt@latest", `mmtrt@${request.version}`];
}

/** In every string, so that a template stays a file that works by itself. */
function replaceText(job: YAMLMap, pairs: readonly (readonly [string, string])[]): void {
  visit(job, {
    Scalar(_, node) {
      if (!isScalar<string>(node) || typeof node.value !== "string") return;
      for (const [from, to] of pairs) node.value = node.value.replaceAll(from, () => to);
    },
  });
}

/** Paths are whole lines: `engines` in the middle of a name is none. */
function replaceLines(job: YAMLMap, lines: Readonly<Record<string, string>>): void {
  visit(job, {
    Scalar(key, node) {
      if (key === "key" || !isScalar<string>(node) || typeof node.value !== "string") return;
      const changed = node.value.split("\n").map(line => (Object.hasOwn(lines, line) ? (lines[line] as string) : line));
      node.value = changed.join("\n");
    },
  });
}

function namesOf(groups: readonly JobGroup[], prefix: string): readonly string[] {
  return groups.map(({ name }) => prefix + name);
}

function countTo(n: number): readonly number[] {
  return Array.from({ length: n }, (_, i) => i + 1);
}

function written(document: Document): string {
  return document.toString({ lineWidth: 0, flowCollectionPadding: false });
}

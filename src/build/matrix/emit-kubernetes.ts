import { type Document, isScalar, parseDocument, visit } from "yaml";
import { type EmittedFile, jobTemplate, type Wording } from "./emit-files.ts";
import type { JobGroup, MachineNeeds } from "./emit-groups.ts";

const CONTAINER = ["spec", "template", "spec", "containers", 0] as const;

/** An indexed job for each group of cells, a job that gathers, and a script that runs one after the other. */
export async function kubernetesFiles(wording: Wording): Promise<readonly EmittedFile[]> {
  const [build, report, submit] = await Promise.all(
    ["kubernetes-build.yaml", "kubernetes-report.yaml", "kubernetes-submit.sh"].map(jobTemplate),
  );
  const jobs = wording.request.groups.map(group => buildJob(build as string, group, wording));
  return [
    { name: "kubernetes/build.yaml", text: jobs.join("---\n") },
    { name: "kubernetes/report.yaml", text: text(parsed(report as string, wording.gather, wording)) },
    { name: "kubernetes/submit.sh", text: submit as string, executable: true },
  ];
}

function buildJob(template: string, group: JobGroup, wording: Wording): string {
  const document = parsed(template, wording.build(group), wording);
  document.setIn(["metadata", "name"], `mmtrt-${group.name}-run-id`);
  document.setIn(["spec", "completions"], group.jobs);
  document.setIn(["spec", "parallelism"], group.jobs);
  document.setIn([...CONTAINER, "env", 0, "value"], group.name);
  document.setIn([...CONTAINER, "env", 1, "value"], String(group.jobs));
  const { gpu, sms } = group.needs;
  if (sms.length > 0) document.setIn(["metadata", "labels", "mmtrt.sm"], sms.join("-"));
  if (gpu) {
    document.setIn([...CONTAINER, "resources", "limits"], document.createNode({ "nvidia.com/gpu": 1 }));
    const selector = selectorOf(group.needs);
    if (selector !== undefined) document.setIn(["spec", "template", "spec", "nodeSelector"], selector);
  }
  return text(document);
}

/** Labels that NVIDIA's GPU feature discovery gives the nodes; their values are text. */
function selectorOf({ sms }: MachineNeeds): Readonly<Record<string, string>> | undefined {
  const [sm] = sms;
  if (sm === undefined) return undefined;
  return {
    "nvidia.com/gpu.compute.major": String(Math.floor(sm / 10)),
    "nvidia.com/gpu.compute.minor": String(sm % 10),
  };
}

function parsed(template: string, words: string, { request }: Wording): Document {
  const document = parseDocument(template);
  visit(document, {
    Scalar(_, node) {
      if (!isScalar<string>(node) || typeof node.value !== "string") return;
      node.value = node.value
        .replace("matrix matrix.yaml", () => `matrix ${words}`)
        .replace(/^mmtrt:latest$/, `mmtrt:${request.version}`);
    },
  });
  return document;
}

function text(document: Document): string {
  return document.toString({ lineWidth: 0, flowCollectionPadding: false });
}

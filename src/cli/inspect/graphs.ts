import { stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { readOnnx } from "../../formats/onnx/read.ts";
import { type OnnxModel, type OnnxTensor, type OnnxValueInfo, tensorTypeOf } from "../../formats/onnx/schema.ts";
import { DTYPES, type Dtype, elementCount } from "../../tensor/index.ts";
import { formatAmount } from "../ui/progress.ts";
import { formatCount, type Report, type ReportTable } from "./report.ts";

export async function inspectOnnx(path: string, options: { readonly tensors: boolean }): Promise<Report> {
  const model = await readOnnx(path);
  const { graph, functions, opsetImport } = model;
  const external = await externalFiles(path, model);
  const values = (infos: readonly OnnxValueInfo[], kind: string): string[][] =>
    infos.map(info => [info.name, kind, ...typeOf(info)]);
  const operators = countOperators(model);
  return {
    kind: "onnx",
    facts: [
      ["graph", `${graph.name}: ${graph.node.length} nodes, ${functions.length} functions`],
      ["opsets", opsetImport.map(({ domain, version }) => `${domain || "ai.onnx"} ${version}`).join(", ")],
      ["IR version", String(model.irVersion)],
      ["made by", `${model.producerName || "?"} ${model.producerVersion}`.trim()],
      ["parameters", formatCount(graph.initializer.reduce((sum, tensor) => sum + elementCount(tensor.dims), 0))],
      ...external.map(
        ({ file, bytes, size }) =>
          ["weights", `${formatAmount(bytes, "B")} in ${file}${size === undefined ? " (missing)" : ""}`] as const,
      ),
    ],
    tables: [
      {
        title: "Inputs and outputs",
        head: ["name", "kind", "dtype", "shape"],
        rows: [...values(graph.input, "input"), ...values(graph.output, "output")],
      },
      { title: "Operators", head: ["operator", "nodes"], rows: operators.map(({ op, nodes }) => [op, nodes]) },
      ...(options.tensors ? [initializerTable(graph.initializer)] : []),
    ],
    data: {
      graph: graph.name,
      opsets: opsetImport,
      ir_version: model.irVersion,
      producer: model.producerName,
      inputs: graph.input.map(ioData),
      outputs: graph.output.map(ioData),
      operators,
      functions: functions.map(({ domain, name }) => `${domain}::${name}`),
      initializers: graph.initializer.length,
      external,
    },
  };
}

function typeOf(value: OnnxValueInfo): readonly [string, string] {
  const { elemType, dims } = tensorTypeOf(value);
  return [dtypeName(elemType), `[${dims.map(d => d.dimParam || (d.dimValue ?? "?")).join(", ")}]`];
}

function ioData(info: OnnxValueInfo): Readonly<Record<string, unknown>> {
  const [dtype, shape] = typeOf(info);
  return { name: info.name, dtype, shape };
}

function dtypeName(code: number): string {
  return (Object.keys(DTYPES) as Dtype[]).find(name => DTYPES[name].onnx === code) ?? `type ${code}`;
}

function countOperators({ graph }: OnnxModel): readonly { readonly op: string; readonly nodes: number }[] {
  const counts = new Map<string, number>();
  for (const { domain, opType } of graph.node) {
    const op = domain ? `${domain}::${opType}` : opType;
    counts.set(op, (counts.get(op) ?? 0) + 1);
  }
  return [...counts]
    .map(([op, nodes]) => ({ op, nodes }))
    .sort((a, b) => b.nodes - a.nodes || a.op.localeCompare(b.op));
}

interface ExternalFile {
  readonly file: string;
  /** Bytes of it that the graph uses. */
  readonly bytes: number;
  /** Undefined when the file is missing. */
  readonly size: number | undefined;
}

async function externalFiles(path: string, { graph }: OnnxModel): Promise<readonly ExternalFile[]> {
  const used = new Map<string, number>();
  for (const tensor of graph.initializer) {
    const entry = (key: string): string | undefined => tensor.externalData?.find(e => e.key === key)?.value;
    const file = tensor.dataLocation === 1 ? entry("location") : undefined;
    if (file !== undefined) used.set(file, (used.get(file) ?? 0) + (Number(entry("length")) || 0));
  }
  const sized = [...used].map(async ([file, bytes]) => ({
    file,
    bytes,
    size: await sizeOf(join(dirname(path), file)),
  }));
  return Promise.all(sized);
}

export async function sizeOf(path: string): Promise<number | undefined> {
  return stat(path).then(
    info => info.size,
    () => undefined,
  );
}

function initializerTable(tensors: readonly OnnxTensor[]): ReportTable {
  const rows = tensors.map(t => [
    t.name,
    dtypeName(t.dataType),
    `[${t.dims.join(", ")}]`,
    t.dataLocation === 1 ? "external" : "here",
  ]);
  return { title: "Every initializer", head: ["name", "dtype", "shape", "bytes"], rows };
}

import type { Problem } from "../../diagnostics/index.ts";
import { DTYPES, elementCount, type StoredTensor } from "../../tensor/index.ts";
import { formatAmount } from "../ui/progress.ts";
import { type Cell, formatTable } from "../ui.ts";

export interface ReportTable {
  readonly title: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly Cell[])[];
}

/** What `inspect` found out: short facts, then tables, and the same as data for --json. */
export interface Report {
  readonly kind: "model" | "gguf" | "safetensors" | "onnx" | "checkpoint" | "engine" | "hub";
  readonly facts: readonly (readonly [string, string])[];
  readonly tables: readonly ReportTable[];
  readonly data: Readonly<Record<string, unknown>>;
  /** Why what was asked about is not possible: shown after the report, and decides the exit code. */
  readonly problems?: readonly Problem[];
}

/** What lies on disk. */
export type LocalKind = Exclude<Report["kind"], "hub">;

const KIND_WORDS: Readonly<Record<Report["kind"], string>> = {
  model: "Hugging Face model",
  gguf: "GGUF file",
  safetensors: "safetensors file",
  onnx: "ONNX graph",
  checkpoint: "checkpoint of mmtrt convert",
  engine: "engine directory of mmtrt build",
  hub: "model of the Hugging Face Hub",
};

export function formatReport(path: string, { kind, facts, tables }: Report): string {
  const wide = Math.max(0, ...facts.map(([name]) => name.length));
  const lines = facts.map(([name, value]) => `${name.padEnd(wide)}  ${value}`);
  const blocks = tables
    .filter(({ rows }) => rows.length > 0)
    .map(({ title, head, rows }) => `${title}\n${indent(formatTable(head, rows))}`);
  return [`${path}: ${KIND_WORDS[kind]}`, ...(lines.length > 0 ? [indent(lines.join("\n"))] : []), ...blocks].join(
    "\n\n",
  );
}

function indent(text: string): string {
  return text.replaceAll(/^(?=.)/gm, "  ");
}

/** Tensors of one dtype together. */
export interface TensorGroup {
  readonly dtype: string;
  readonly tensors: number;
  readonly parameters: number;
  readonly bytes: number;
}

export function groupTensors(
  tensors: Iterable<Pick<StoredTensor, "dtype" | "shape" | "range">>,
): readonly TensorGroup[] {
  const groups = new Map<string, { tensors: number; parameters: number; bytes: number }>();
  for (const { dtype, shape, range } of tensors) {
    const group = groups.get(dtype) ?? { tensors: 0, parameters: 0, bytes: 0 };
    const count = elementCount(shape);
    group.tensors++;
    group.parameters += count;
    group.bytes += range?.length ?? Math.ceil((count * DTYPES[dtype].bits) / 8);
    groups.set(dtype, group);
  }
  return [...groups].map(([dtype, group]) => ({ dtype, ...group })).sort((a, b) => b.bytes - a.bytes);
}

export function groupTable(groups: readonly TensorGroup[], title = "Tensors"): ReportTable {
  const rows = groups.map(g => [g.dtype, g.tensors, formatCount(g.parameters), formatAmount(g.bytes, "B")]);
  return { title, head: ["dtype", "tensors", "parameters", "size"], rows };
}

export function tensorTable(tensors: Iterable<StoredTensor>, title = "Every tensor"): ReportTable {
  return {
    title,
    head: ["name", "dtype", "shape", "at"],
    rows: [...tensors].map(t => [t.name, t.dtype, `[${t.shape.join(", ")}]`, t.at]),
  };
}

export function parametersOf(groups: readonly TensorGroup[]): number {
  return groups.reduce((sum, group) => sum + group.parameters, 0);
}

/** `7.06 B`, `135 M`, `989`: as models' sizes are said. */
export function formatCount(count: number): string {
  for (const [unit, size] of [
    ["B", 1e9],
    ["M", 1e6],
  ] as const) {
    if (count >= size) return `${Number((count / size).toPrecision(3))} ${unit}`;
  }
  return String(count);
}

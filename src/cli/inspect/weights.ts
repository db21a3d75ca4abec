import { openHf } from "../../checkpoint/open.ts";
import { openCheckpoint } from "../../checkpoint/read.ts";
import { MmtrtError, type Problem } from "../../diagnostics/index.ts";
import { FilePool } from "../../formats/file.ts";
import { openGgufFile } from "../../formats/gguf.ts";
import { openSafetensors } from "../../formats/safetensors.ts";
import { readModel } from "../../models/registry.ts";
import type { ModelSpec } from "../../models/spec.ts";
import type { HfCheckpoint } from "../../tensor/index.ts";
import { formatAmount } from "../ui/progress.ts";
import type { FitRequest } from "./fit.ts";
import { formatCount, groupTable, groupTensors, parametersOf, type Report, tensorTable } from "./report.ts";

export interface InspectOptions {
  /** List every tensor. */
  readonly tensors: boolean;
  /** Told what would stop a conversion; the report is made all the same. */
  warn(problem: Problem): void;
  /** Only engines look at it. */
  readonly request: FitRequest;
}

export async function inspectModel(path: string, options: InspectOptions): Promise<Report> {
  const source = await openHf(path);
  try {
    const spec = specOf(source, options);
    for (const warning of source.warnings) options.warn(warning);
    const groups = groupTensors(source.tensors.values());
    const { architectures, model_type } = source.config;
    return {
      kind: "model",
      facts: [
        ["architecture", `${String(architectures ?? "?")} (model_type ${String(model_type ?? "?")})`],
        ["parameters", formatCount(parametersOf(groups))],
        ["weights", `${source.format}, ${countFiles(source.weightFiles.length)}`],
        ...(spec === undefined ? [] : specFacts(spec)),
        [
          "beside them",
          [...source.extraFiles, ...source.generatedFiles.keys()].join(", ") || "no tokenizer or processor files",
        ],
      ],
      tables: [groupTable(groups), ...(options.tensors ? [tensorTable(source.tensors.values())] : [])],
      data: {
        architectures,
        model_type,
        supported: spec !== undefined,
        format: source.format,
        files: source.weightFiles,
        spec,
        tensors: groups,
        extra_files: source.extraFiles,
      },
    };
  } finally {
    await source.close();
  }
}

function countFiles(count: number): string {
  return `${count} ${count === 1 ? "file" : "files"}`;
}

function specOf(source: HfCheckpoint, { warn }: InspectOptions): ModelSpec | undefined {
  try {
    const { spec, warnings } = readModel(source.config);
    for (const warning of warnings) warn(warning);
    return spec;
  } catch (error) {
    if (!(error instanceof MmtrtError)) throw error;
    for (const problem of error.problems) warn(problem);
    return undefined;
  }
}

function specFacts({
  language: l,
  vision: v,
  packedVision: packed,
  projector: p,
}: ModelSpec): readonly (readonly [string, string])[] {
  const heads = l.kvHeads === l.heads ? `${l.heads} heads` : `${l.heads} heads, ${l.kvHeads} key/value heads`;
  const facts: (readonly [string, string])[] = [
    [
      "language",
      `${l.layers} layers, hidden ${l.hiddenSize}, ${heads} of ${l.headDim}, MLP ${l.intermediateSize}, vocabulary ${l.vocabSize}, ${l.maxPositions} positions`,
    ],
  ];
  if (v !== undefined) {
    facts.push([
      "vision",
      `${v.runLayers} of ${v.layers} layers, hidden ${v.hiddenSize}, image ${v.imageSize}, patch ${v.patchSize}, ${v.numVisualFeatures} visual features`,
    ]);
  }
  if (packed !== undefined) {
    const { patchSize: size, temporalPatchSize: frames, mergeSize: merge } = packed;
    facts.push([
      "vision",
      `${packed.layers} layers, hidden ${packed.hiddenSize}, patches of ${size} × ${size} × ${frames} frames, ${merge} × ${merge} a feature`,
    ]);
  }
  if (p !== undefined) facts.push(["projector", `${p.inputSize} → ${p.hiddenSize} → ${p.outputSize}, ${p.activation}`]);
  return facts;
}

export async function inspectSafetensors(path: string, options: InspectOptions): Promise<Report> {
  const pool = new FilePool();
  try {
    const { tensors, metadata } = await openSafetensors(pool, path);
    const groups = groupTensors(tensors.values());
    return {
      kind: "safetensors",
      facts: [["parameters", formatCount(parametersOf(groups))], ...Object.entries(metadata)],
      tables: [groupTable(groups), ...(options.tensors ? [tensorTable(tensors.values())] : [])],
      data: { metadata, tensors: groups },
    };
  } finally {
    await pool.close();
  }
}

/** Vocabularies and merges have thousands of items; their length says enough. */
const MAX_VALUE = 60;

export async function inspectGguf(path: string, options: InspectOptions): Promise<Report> {
  const pool = new FilePool();
  try {
    const { metadata, tensors } = await openGgufFile(pool, path);
    const groups = groupTensors(tensors.values());
    const shown = [...metadata].map(([key, value]) => {
      const text = Array.isArray(value) ? `${value.length} items` : String(value).replaceAll("\n", "\\n");
      return [key, text.length > MAX_VALUE ? `${text.slice(0, MAX_VALUE)}…` : text] as const;
    });
    return {
      kind: "gguf",
      facts: [["parameters", formatCount(parametersOf(groups))], ...shown],
      tables: [
        groupTable(groups, "Tensors, as they are read"),
        ...(options.tensors ? [tensorTable(tensors.values())] : []),
      ],
      data: { metadata: Object.fromEntries(shown), tensors: groups },
    };
  } finally {
    await pool.close();
  }
}

export async function inspectCheckpoint(path: string, options: InspectOptions): Promise<Report> {
  const checkpoint = await openCheckpoint(path);
  try {
    const { manifest, ranks, visual, spec } = checkpoint;
    for (const warning of manifest.warnings) options.warn(warning);
    const { dtype, tp_size, pp_size } = manifest.options;
    const parts = [...ranks, ...(visual ? [visual] : [])];
    const groups = groupTensors(parts.flatMap(part => [...part.tensors.values()]));
    return {
      kind: "checkpoint",
      facts: [
        ["architecture", manifest.architecture],
        ["dtype", dtype],
        ["ranks", `${ranks.length} (tp_size ${tp_size}, pp_size ${pp_size})`],
        ...specFacts(spec),
        [
          "source",
          `${manifest.source.format}, ${countFiles(manifest.source.files.length)}, by mmtrt ${manifest.version}`,
        ],
      ],
      tables: [
        {
          title: "Files",
          head: ["file", "size"],
          rows: manifest.files.map(({ name, size }) => [name, formatAmount(size, "B")]),
        },
        groupTable(groups, "Tensors of all files"),
        ...(options.tensors ? parts.map(part => tensorTable(part.tensors.values(), part.file)) : []),
      ],
      data: { ...manifest, spec, tensors: groups },
    };
  } finally {
    await checkpoint.close();
  }
}

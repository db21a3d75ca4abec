import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { throwIfAny } from "../diagnostics/index.ts";
import { FilePool } from "../formats/file.ts";
import { openSafetensors } from "../formats/safetensors.ts";
import type { ModelWeights, WeightRule } from "../models/architecture.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { type ActRanges, type RangeSource, readRanges } from "../quantize/act-ranges.ts";
import { moduleOf } from "../tensor/index.ts";

/** A file of ranges, read whole. */
export interface RangesFile {
  readonly ranges: ActRanges;
  /** SHA-256 of the file: another file makes another checkpoint. */
  readonly sha256: string;
}

/** Every product of the decoder with the Hugging Face modules that its ranges are written under. */
export function rangeSources(language: DecoderSpec, { language: rules }: ModelWeights): RangeSource[] {
  const linear = rules.filter(rule => rule.stage === "layer" && moduleOf(rule.to.replace("{l}", "0")) !== undefined);
  return Array.from({ length: language.layers }, (_, layer) =>
    linear.map(rule => sourceOf(rule, String(layer))),
  ).flat();
}

function sourceOf(rule: WeightRule, layer: string): RangeSource {
  const sizes = rule.from.map(({ shape }) => (rule.transpose ? [shape[1] ?? 0, shape[0] ?? 0] : shape));
  return {
    module: moduleOf(rule.to.replace("{l}", layer)) as string,
    from: rule.from.map(({ name }, i) => ({
      name: name.replace("{l}", layer).replace(/\.weight$/, ""),
      outputs: sizes[i]?.[0] ?? 0,
    })),
    inputs: sizes[0]?.[1] ?? 0,
  };
}

/** Errors: CKP001–CKP006 for the file, CKP085 when it does not hold this model's ranges. */
export async function loadRanges(
  file: string,
  sources: readonly RangeSource[],
  needsRows: boolean,
): Promise<RangesFile> {
  const pool = new FilePool();
  try {
    const { tensors } = await openSafetensors(pool, file);
    const { ranges, problems } = await readRanges(tensors, sources, file, needsRows);
    throwIfAny(problems);
    return {
      ranges: needsRows ? reopening(ranges, sources, file) : ranges,
      sha256: createHash("sha256")
        .update(await readFile(file))
        .digest("hex"),
    };
  } finally {
    await pool.close();
  }
}

/** Rows are read one input after the other while weights are written; the file is opened again for each. */
function reopening(ranges: ActRanges, sources: readonly RangeSource[], file: string): ActRanges {
  const rowsOf = async (source: RangeSource): Promise<Float32Array> => {
    const pool = new FilePool();
    try {
      const { tensors } = await openSafetensors(pool, file);
      const { ranges: fresh, problems } = await readRanges(tensors, [source], file, true);
      throwIfAny(problems);
      return (await fresh.get(source.module)?.rows?.()) ?? new Float32Array(0);
    } finally {
      await pool.close();
    }
  };
  return new Map(
    sources.flatMap(source => {
      const range = ranges.get(source.module);
      return range === undefined ? [] : [[source.module, { ...range, rows: () => rowsOf(source) }]];
    }),
  );
}

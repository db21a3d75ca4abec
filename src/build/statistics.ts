import { openCheckpoint, type WeightFile } from "../checkpoint/read.ts";
import type { Graph } from "../graph/graph.ts";
import { byteLength, type Dtype } from "../tensor/index.ts";
import { buildGraph } from "./engine-plans.ts";
import type { BuildPlan } from "./plan.ts";

/** Weights of one kind of module (`attention`, `mlp`, …) over all layers, as stored. */
export interface WeightGroup {
  readonly group: string;
  readonly dtype: Dtype;
  readonly tensors: number;
  readonly bytes: number;
}

/** What an engine's graph is made of. */
export interface EngineStatistics {
  /** The engine's name in the plan. */
  readonly name: string;
  /** Nodes by operator, `mmtrt::` functions as one node each. */
  readonly ops: Readonly<Record<string, number>>;
  /** Largest first. */
  readonly weights: readonly WeightGroup[];
}

/**
 * Counted only when somebody asks, from graphs built again: a plan stays small. One entry an engine of the plan; none when
 * problems left the plan without engines. Errors: those of openCheckpoint.
 */
export async function planStatistics(plan: BuildPlan): Promise<readonly EngineStatistics[]> {
  if (plan.engines.length === 0) return [];
  const checkpoint = await openCheckpoint(plan.checkpoint_dir);
  try {
    const { ranks, encoder, visual } = checkpoint;
    const files = [...ranks, ...(encoder?.ranks ?? []), ...(visual ? [visual] : [])];
    return plan.engines.map(({ name, kind, options, source }) => {
      const graph = buildGraph(checkpoint, kind, options);
      const weights = files.find(({ file }) => file === source);
      return { name, ops: countOps(graph), weights: weights === undefined ? [] : groupWeights(graph, weights) };
    });
  } finally {
    await checkpoint.close();
  }
}

function countOps({ nodes }: Graph): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { domain, op } of nodes) {
    const name = domain === "" ? op : `${domain}::${op}`;
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

function groupWeights({ initializers }: Graph, { tensors }: WeightFile): readonly WeightGroup[] {
  const groups = new Map<string, { group: string; dtype: Dtype; tensors: number; bytes: number }>();
  for (const { value, bytes } of initializers) {
    const stored = tensors.get(value.name);
    // With bytes of its own it is a small constant of the graph.
    if (bytes !== undefined || stored === undefined) continue;
    const { dtype, shape } = stored;
    const group = groupOf(value.name);
    const key = `${group} ${dtype}`;
    const sum = groups.get(key) ?? { group, dtype, tensors: 0, bytes: 0 };
    sum.tensors += 1;
    sum.bytes += byteLength(dtype, shape);
    groups.set(key, sum);
  }
  return [...groups.values()].sort((a, b) => b.bytes - a.bytes);
}

/**
 * What follows the layer's number (`transformer.layers.3.attention.qkv.weight` → `attention`); outside of layers the
 * module itself (`transformer.vocab_embedding.weight` → `vocab_embedding`).
 */
export function groupOf(tensor: string): string {
  const path = tensor.split(".");
  const number = path.findLastIndex(part => /^\d+$/.test(part));
  const module = number < 0 ? path.at(-2) : path[number + 1];
  return module ?? tensor;
}

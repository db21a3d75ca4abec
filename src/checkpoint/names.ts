import type { Problem } from "../diagnostics/index.ts";
import type { NameRule } from "../models/architecture.ts";
import type { StoredTensor } from "../tensor/index.ts";

export interface NamedTensors {
  /** Canonical name → stored tensor. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly problems: readonly Problem[];
}

/** Stored tensors under the architecture's canonical names, whichever layout the checkpoint was saved in. */
export function canonicalNames(stored: ReadonlyMap<string, StoredTensor>, rules: readonly NameRule[]): NamedTensors {
  const tensors = new Map<string, StoredTensor>();
  const problems: Problem[] = [];
  for (const tensor of stored.values()) {
    const rule = rules.find(({ stored: pattern }) => pattern.test(tensor.name));
    const name = rule ? tensor.name.replace(rule.stored, rule.canonical) : tensor.name;
    const other = tensors.get(name);
    if (other !== undefined) problems.push(twice(name, other, tensor));
    else tensors.set(name, tensor);
  }
  return { tensors, problems: problems.slice(0, 20) };
}

/** Names that end in the same segments, best first: `q_proj.weight` of another prefix or layer. */
export function lookAlikes(name: string, among: Iterable<string>, count = 3): string[] {
  const wanted = name.split(".").reverse();
  const scored: { name: string; score: number }[] = [];
  for (const candidate of among) {
    const segments = candidate.split(".").reverse();
    let same = 0;
    while (same < wanted.length && wanted[same] === segments[same]) same++;
    // `weight` alone is no likeness; `lm_head` under another ending is.
    const shared = segments.filter(segment => !/^\d+$/.test(segment) && wanted.includes(segment)).length;
    const score = same * 2 + shared;
    if (score > 3) scored.push({ name: candidate, score });
  }
  return scored
    .sort((a, b) => b.score - a.score || a.name.localeCompare(b.name))
    .slice(0, count)
    .map(entry => entry.name);
}

function twice(name: string, first: StoredTensor, second: StoredTensor): Problem {
  return {
    code: "CKP044",
    what: `${first.name} and ${second.name} both mean ${name}`,
    at: `${second.name} in ${second.at}`,
    why: "two name layouts are mixed, and the two copies may differ",
    fix: `remove one of the two tensors, or save the model again with transformers`,
  };
}

import { type Problem, throwIfAny } from "../../diagnostics/index.ts";
import type { Adapter } from "../../formats/lora/adapter.ts";
import { innerPath } from "../../formats/lora/fit.ts";
import { meaningOf } from "../../formats/lora/targets.ts";
import { CASTABLE, type HfCheckpoint, type StoredTensor, sameShape, showShape } from "../../tensor/index.ts";

/** What becomes of one stored tensor. */
export type Change =
  | {
      readonly kind: "add";
      readonly a: StoredTensor;
      readonly b: StoredTensor;
      readonly scaling: number;
      /** The weight is stored [in, out]. */
      readonly conv1d: boolean;
    }
  | { readonly kind: "replace"; readonly by: StoredTensor };

/** By stored name, all that an adapter changes. Errors: LRA005–LRA007, LRA002 for patterns. */
export function changesOf(
  adapter: Adapter,
  { tensors }: HfCheckpoint,
  conv1d: ReadonlySet<string>,
): ReadonlyMap<string, Change> {
  const byInner = new Map([...tensors.values()].map(tensor => [innerPath(tensor.name), tensor]));
  const find = (name: string): StoredTensor | undefined => tensors.get(name) ?? byInner.get(innerPath(name));
  const meaning = meaningOf(adapter.config, [...adapter.halves.keys()]);
  const changes = new Map<string, Change>();
  const problems: Problem[] = [];
  const homeless: string[] = [];
  for (const [path, { a, b }] of adapter.halves) {
    const weight = find(`${path}.weight`);
    const { targeted = false, rank = 0, scaling = 0 } = meaning.get(path) ?? {};
    const turned = conv1d.has(innerPath(path));
    if (weight === undefined) homeless.push(path);
    else if (!targeted) problems.push(untargeted(adapter, path));
    else if (a === undefined || b === undefined) problems.push(half(adapter, path, a === undefined ? "A" : "B"));
    else {
      const problem = misfit(weight, a, b, rank, turned);
      if (problem !== undefined) problems.push(problem);
      else changes.set(weight.name, { kind: "add", a, b, scaling, conv1d: turned });
    }
  }
  for (const [name, by] of adapter.whole) {
    const weight = find(name);
    if (weight === undefined) homeless.push(name);
    else if (!sameShape(weight.shape, by.shape)) problems.push(otherShape(weight, by));
    else changes.set(weight.name, { kind: "replace", by });
  }
  throwIfAny([...(homeless.length > 0 ? [noHome(adapter, homeless)] : []), ...problems].slice(0, 20));
  return changes;
}

function misfit(
  weight: StoredTensor,
  a: StoredTensor,
  b: StoredTensor,
  rank: number,
  conv1d: boolean,
): Problem | undefined {
  const [out, width] = conv1d ? [...weight.shape].reverse() : weight.shape;
  const bad = [[a, [rank, width ?? 0]] as const, [b, [out ?? 0, rank]] as const].find(
    ([tensor, shape]) =>
      weight.shape.length !== 2 || !sameShape(tensor.shape, shape) || !CASTABLE.includes(tensor.dtype),
  );
  if (bad === undefined && CASTABLE.includes(weight.dtype)) return undefined;
  const [tensor, shape] = bad ?? ([a, a.shape] as const);
  return {
    code: bad === undefined ? "LRA017" : "LRA007",
    what:
      bad === undefined
        ? `${weight.name} is ${weight.dtype}; expected a float`
        : `${tensor.name} is ${tensor.dtype} ${showShape(tensor.shape)}; expected ${showShape(shape)} beside ${weight.name} ${showShape(weight.shape)}`,
    at: `${tensor.name} in ${tensor.at}`,
    why: "B·A is added to the base weight, so it has its shape, and its rank is the config's",
    fix: "use the adapter with the base model that it was trained on, and with its own adapter_config.json",
  };
}

function noHome({ dir }: Adapter, names: readonly string[]): Problem {
  const shown = names.slice(0, 4).join(", ") + (names.length > 4 ? ` and ${names.length - 4} more` : "");
  return {
    code: "LRA005",
    what: `the model has no weight for ${shown}`,
    at: dir,
    why: "leaving a part of the adapter out would give another model than PEFT's",
    fix: "use the adapter with the base model that it was trained on",
  };
}

function untargeted({ dir, config }: Adapter, path: string): Problem {
  return {
    code: "LRA005",
    what: `${path} has tensors, and ${config.file} does not target it`,
    at: dir,
    why: "PEFT would leave these tensors out, so config and tensors are of two adapters",
    fix: "use the adapter_config.json that belongs to these tensors",
  };
}

function half({ dir, weights }: Adapter, path: string, missing: "A" | "B"): Problem {
  return {
    code: "LRA006",
    what: `${path} has no lora_${missing}`,
    at: `${dir}/${weights}`,
    why: "an adapter is the product of two matrices, and half of one is nothing",
    fix: "save the adapter again with PEFT, or download its file again",
  };
}

function otherShape(weight: StoredTensor, by: StoredTensor): Problem {
  return {
    code: "LRA007",
    what: `${by.name} is ${showShape(by.shape)}; the model's ${weight.name} is ${showShape(weight.shape)}`,
    at: `${by.name} in ${by.at}`,
    why: "a table of another size needs a config.json and a tokenizer with another vocabulary",
    fix: "resize the base model with transformers (resize_token_embeddings) and save it, then merge into that",
  };
}

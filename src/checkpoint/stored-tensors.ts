import type { SourceTensor, WeightRule } from "../models/architecture.ts";
import { towerUnused } from "../models/parts/vit-weights.ts";
import type { KnownModel } from "../models/registry.ts";
import { elementCount } from "../tensor/index.ts";

/**
 * Every tensor that the training code saves, in canonical names, less SigLIP's pooling head: unused vision layers are
 * included, so that the checkpoint loads there without a warning.
 */
export function storedTensors({
  architecture,
  spec,
}: Pick<KnownModel, "architecture" | "spec">): readonly SourceTensor[] {
  const weights = architecture.weights(spec);
  const prefix = weights.languagePrefix ?? "";
  const seen = new Map<string, SourceTensor>();
  const add = ({ name: canonical, shape }: SourceTensor): void => {
    const name = weights.published?.(canonical) ?? canonical;
    seen.set(name, { name, shape });
  };
  const addStack = (stack: readonly WeightRule[], layers: number): void => {
    const rules = (...stages: readonly string[]): SourceTensor[] =>
      stack
        .filter(rule => stages.includes(rule.stage))
        .flatMap(rule => [...rule.from, ...(rule.times ? [rule.times.matrix] : [])]);
    for (const { name, shape } of rules("first", "every")) add({ name: prefix + name, shape });
    for (let layer = 0; layer < layers; layer++) {
      for (const { name, shape } of rules("layer")) add({ name: prefix + name.replace("{l}", String(layer)), shape });
    }
    for (const { name, shape } of rules("last")) add({ name: prefix + name, shape });
  };
  addStack(weights.encoder ?? [], spec.encoderDecoder?.encoder?.layers ?? 0);
  addStack(weights.language, spec.language.layers);
  for (const tensor of [...weights.visual, ...(weights.unused ?? [])]) add(tensor);
  if (spec.vision !== undefined) for (const tensor of towerUnused(spec.vision)) add(tensor);
  return [...seen.values()];
}

/** Elements of all of them: what a model card calls its parameters. */
export function parameterCount(model: Pick<KnownModel, "architecture" | "spec">): number {
  return storedTensors(model).reduce((sum, { shape }) => sum + elementCount(shape), 0);
}

import type { KnownModel } from "../models/registry.ts";
import type { ProjectorSpec } from "../models/spec.ts";
import type { Shape } from "../tensor/index.ts";
import { storedTensors } from "./stored-tensors.ts";
import type { Config } from "./synth-sizes.ts";

/** One directory of a Hugging Face checkpoint: its config.json and the tensors stored beside it. */
export interface SynthPart {
  /** Relative to the checkpoint; "" for the checkpoint itself. */
  readonly dir: string;
  readonly config: Config;
  readonly tensors: readonly { readonly name: string; readonly shape: Shape }[];
}

const TOWER = "vision_tower.";
const PROJECTOR = "multi_modal_projector.";
/** A name on the Hub, which is a relative path as well. */
const HUB_NAME = /^(?!\.)[\w.-]+\/(?!\.)[\w.-]+$/;

/**
 * The directories in which the model is published: VILA's three, LLaVA's own and the vision tower that it names, or one
 * for everything.
 */
export function synthParts(model: KnownModel, config: Config): readonly SynthPart[] {
  const tensors = storedTensors(model);
  const { projector } = model.spec;
  if (projector === undefined || config.vision_tower_cfg === undefined) return [{ dir: "", config, tensors }];
  const tower = cut(tensors, TOWER);
  const rest = tensors.filter(({ name }) => !name.startsWith(TOWER) && !name.startsWith(PROJECTOR));
  const projection = (prefix: string): SynthPart["tensors"] =>
    cut(tensors, PROJECTOR).map(({ name, shape }) => ({ name: prefix + sequential(projector, name), shape }));
  if (config.llm_cfg !== undefined) {
    return [
      { dir: "", config, tensors: [] },
      { dir: "llm", config: config.llm_cfg as Config, tensors: rest },
      { dir: "vision_tower", config: config.vision_tower_cfg as Config, tensors: tower },
      { dir: "mm_projector", config: config.mm_projector_cfg as Config, tensors: projection("layers.") },
    ];
  }
  const { vision_tower_cfg, ...own } = config;
  const named = String(own.mm_vision_tower);
  const dir = HUB_NAME.test(named) ? named : "vision_tower";
  return [
    { dir: "", config: { ...own, mm_vision_tower: dir }, tensors: [...rest, ...projection("model.mm_projector.")] },
    { dir, config: vision_tower_cfg as Config, tensors: tower },
  ];
}

function cut(tensors: SynthPart["tensors"], prefix: string): SynthPart["tensors"] {
  return tensors
    .filter(({ name }) => name.startsWith(prefix))
    .map(({ name, shape }) => ({ name: name.slice(prefix.length), shape }));
}

/** nn.Sequential's numbers, which count activations too: products are 0, 2, 4…; mlp_downsample's fold is 0 and its norm 1. */
function sequential({ kind, depth = 1 }: ProjectorSpec, name: string): string {
  const [layer = "", part = ""] = name.split(".");
  const product = Number(/^linear_(\d+)$/.exec(layer)?.[1] ?? 0);
  if (kind === "mlp_downsample") return `${layer === "norm" ? 1 : 2 * product}.${part}`;
  return depth === 1 ? part : `${2 * (product - 1)}.${part}`;
}

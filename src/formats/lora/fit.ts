import type { Problem } from "../../diagnostics/index.ts";
import { isFloatDtype, type LoraModule, type StoredTensor, showShape } from "../../tensor/index.ts";
import type { Adapter, AdapterHalves } from "./adapter.ts";
import { meaningOf } from "./targets.ts";

/** The linear layers of a model that adapters may change: `modules` in each of `layers` layers. */
export interface LoraTable {
  readonly modules: readonly LoraModule[];
  readonly layers: number;
}

/** One layer's adapter: y += scaling · x·Aᵀ·Bᵀ. */
export interface AdapterPair {
  readonly module: LoraModule;
  readonly layer: number;
  /** In the adapter's own spelling. */
  readonly path: string;
  /** [rank, in] and [out, rank]. */
  readonly a: StoredTensor;
  readonly b: StoredTensor;
  readonly rank: number;
  readonly scaling: number;
}

export interface FittedAdapter {
  readonly pairs: readonly AdapterPair[];
  readonly problems: readonly Problem[];
}

/** Words that wrap a language model in one class or another; what follows them is the same everywhere. */
const WRAPPERS: ReadonlySet<string> = new Set([
  "base_model",
  "model",
  "language_model",
  "text_model",
  "llm",
  "transformer",
  "decoder",
]);
const MAX_LISTED = 8;

/**
 * An adapter's tensors as layers of the model: every tensor has its place, every module that the config targets has both
 * halves, and the shapes are the base weights'. Problems: LRA005–LRA007, LRA002 for patterns.
 */
export function fitAdapter(adapter: Adapter, { modules, layers }: LoraTable): FittedAdapter {
  const byPath = new Map(modules.map(module => [innerPath(module.hf), module]));
  const problems: Problem[] = [];
  const homeless: string[] = [];
  const found = new Map<string, { module: LoraModule; layer: number; path: string; halves: AdapterHalves }>();
  const prefixes = new Set<string>();
  for (const [path, halves] of adapter.halves) {
    const place = placeOf(path, byPath, layers);
    if (place === undefined) {
      homeless.push(path);
      continue;
    }
    const key = `${place.layer}.${place.module.name}`;
    const other = found.get(key);
    if (other !== undefined) problems.push(samePlace(adapter, other.path, path));
    else found.set(key, { ...place, path, halves });
    prefixes.add(path.slice(0, path.length - innerPath(path).length));
  }
  if (homeless.length > 0) problems.push(noPlace(adapter, homeless, modules, layers));
  const every = [...prefixes].flatMap(prefix =>
    modules.flatMap(module =>
      Array.from({ length: layers }, (_, layer) => prefix + innerPath(module.hf).replace("{l}", String(layer))),
    ),
  );
  const meaning = meaningOf(adapter.config, [...new Set([...every, ...adapter.halves.keys()])]);
  const missing = every.filter(path => meaning.get(path)?.targeted && !adapter.halves.has(path));
  if (missing.length > 0) problems.push(notThere(adapter, missing));
  if (adapter.halves.size === 0) problems.push(empty(adapter));
  const pairs = [...found.values()].flatMap(({ module, layer, path, halves: { a, b } }) => {
    const { targeted, rank, scaling } = meaning.get(path) ?? { targeted: false, rank: 0, scaling: 0 };
    if (a === undefined || b === undefined) {
      problems.push(oneHalf(adapter, path, a === undefined ? "A" : "B"));
      return [];
    }
    if (!targeted) problems.push(untargeted(adapter, path, a));
    const wrong = [
      misshapen(a, [rank, module.in], rank, adapter),
      misshapen(b, [module.out, rank], rank, adapter),
    ].filter(problem => problem !== undefined);
    problems.push(...wrong);
    return wrong.length > 0 ? [] : [{ module, layer, path, a, b, rank, scaling }];
  });
  return { pairs, problems: problems.slice(0, 20) };
}

/** `model.language_model.layers.0.self_attn.q_proj` → `layers.0.self_attn.q_proj`. */
export function innerPath(path: string): string {
  const segments = path.split(".");
  while (segments.length > 1 && WRAPPERS.has(segments[0] as string)) segments.shift();
  return segments.join(".");
}

function placeOf(
  path: string,
  byPath: ReadonlyMap<string, LoraModule>,
  layers: number,
): { module: LoraModule; layer: number } | undefined {
  const own = innerPath(path);
  const number = /\.(\d{1,6})\./.exec(own)?.[1];
  if (number === undefined) return undefined;
  const module = byPath.get(own.replace(`.${number}.`, ".{l}."));
  const layer = Number(number);
  return module === undefined || layer >= layers || String(layer) !== number ? undefined : { module, layer };
}

function misshapen(
  tensor: StoredTensor,
  expected: readonly number[],
  rank: number,
  { config }: Adapter,
): Problem | undefined {
  const at = `${tensor.name} in ${tensor.at}`;
  const fix = "use the adapter with the base model that it was trained on, and with its own adapter_config.json";
  if (!isFloatDtype(tensor.dtype))
    return {
      code: "LRA007",
      what: `${tensor.name} is ${tensor.dtype}; expected float32, float16 or bfloat16`,
      at,
      why: "codes of a quantized adapter have scales that no key of PEFT names",
      fix,
    };
  const fits = tensor.shape.length === 2 && tensor.shape.every((size, axis) => size === expected[axis]);
  if (fits) return undefined;
  return {
    code: "LRA007",
    what: `${tensor.name} is ${showShape(tensor.shape)}; expected ${showShape(expected)}`,
    at,
    why: `the base layer's sizes and the rank ${rank} of ${config.file} (r, rank_pattern) say so, and the rank is in the scaling`,
    fix,
  };
}

function noPlace(
  { dir, config }: Adapter,
  paths: readonly string[],
  modules: readonly LoraModule[],
  layers: number,
): Problem {
  const layered = paths.filter(path => /\.(\d+)\./.test(path));
  const beyond = layered.filter(path => Number(/\.(\d+)\./.exec(innerPath(path))?.[1] ?? 0) >= layers);
  const vision = paths.some(path => /vision|qformer|visual|encoder\.layers/.test(path));
  const why = vision
    ? "adapters change linear layers of the language model; image encoder and projector run once for all, before any adapter is chosen"
    : beyond.length > 0
      ? `the base model has layers 0 to ${layers - 1}`
      : `adapters change ${modules.map(({ hf }) => hf.split(".").slice(-1)[0]).join(", ")} of each layer`;
  return {
    code: "LRA005",
    what: `${paths.length} adapted module${paths.length > 1 ? "s have" : " has"} no place in the model: ${listed(paths)}`,
    at: dir,
    why,
    fix: vision
      ? `train with exclude_modules for the vision part (${config.file} targets it too), or mmtrt lora merge and convert the result`
      : "use the adapter with the base model that it was trained on",
  };
}

function notThere({ dir, config }: Adapter, paths: readonly string[]): Problem {
  return {
    code: "LRA006",
    what: `${paths.length} module${paths.length > 1 ? "s that the config targets have" : " that the config targets has"} no tensors: ${listed(paths)}`,
    at: dir,
    why: `target_modules of ${config.file} names them, so the adapter was trained with more layers than the file holds`,
    fix: "save the adapter again with PEFT, or download its file again",
  };
}

function oneHalf({ dir, weights }: Adapter, path: string, missing: "A" | "B"): Problem {
  return {
    code: "LRA006",
    what: `${path} has no lora_${missing}`,
    at: `${dir}/${weights}`,
    why: "an adapter is the product of two matrices, and half of one is nothing",
    fix: "save the adapter again with PEFT, or download its file again",
  };
}

function untargeted({ config }: Adapter, path: string, tensor: StoredTensor): Problem {
  return {
    code: "LRA005",
    what: `${path} has tensors, and ${config.file} does not target it`,
    at: `${tensor.name} in ${tensor.at}`,
    why: "PEFT would leave these tensors out, so config and tensors are of two adapters",
    fix: "use the adapter_config.json that belongs to these tensors",
  };
}

function samePlace({ dir, weights }: Adapter, first: string, second: string): Problem {
  return {
    code: "LRA005",
    what: `${first} and ${second} are both the same layer`,
    at: `${dir}/${weights}`,
    why: "two spellings of the model's names are mixed in one file",
    fix: "save the adapter again with PEFT",
  };
}

function empty({ dir, weights }: Adapter): Problem {
  return {
    code: "LRA006",
    what: `${weights} holds no adapter of any layer`,
    at: `${dir}/${weights}`,
    why: "without two matrices for at least one layer there is nothing to apply",
    fix: "give the directory that PEFT's save_pretrained wrote",
  };
}

function listed(names: readonly string[]): string {
  const rest = names.length - MAX_LISTED;
  return names.slice(0, MAX_LISTED).join(", ") + (rest > 0 ? ` and ${rest} more` : "");
}

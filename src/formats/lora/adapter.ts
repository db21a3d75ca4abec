import { readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { fail, type Problem, throwIfAny } from "../../diagnostics/index.ts";
import type { StoredTensor } from "../../tensor/index.ts";
import { asProblem, type FilePool } from "../file.ts";
import { openSafetensors } from "../safetensors.ts";
import { openTorch } from "../torch.ts";
import { type AdapterConfig, readAdapterConfig } from "./config.ts";

export const ADAPTER_CONFIG = "adapter_config.json";
/** In the order PEFT looks. */
const WEIGHTS = ["adapter_model.safetensors", "adapter_model.bin"] as const;

/** A and B of one module; either may be missing, which `fitAdapter` reports. */
export interface AdapterHalves {
  readonly a?: StoredTensor;
  readonly b?: StoredTensor;
}

/** A PEFT directory: config read, headers read, no tensor bytes. */
export interface Adapter {
  readonly dir: string;
  /** The directory's own name, for people. */
  readonly name: string;
  readonly config: AdapterConfig;
  /** File of the tensors, its name without the directory. */
  readonly weights: string;
  /** By the module's path in the base model: `model.layers.0.self_attn.q_proj`. */
  readonly halves: ReadonlyMap<string, AdapterHalves>;
  /** Whole tensors that take the place of the base model's, by their names there: `lm_head.weight`, trained biases. */
  readonly whole: ReadonlyMap<string, StoredTensor>;
}

/** PEFT's own wrapper around the base model. */
const PREFIX = "base_model.model.";
/** `lora_A.weight`, and with the adapter's name where a model's whole state was saved. */
const HALF = /^(.+)\.lora_(A|B)(?:\.[\w-]+)?\.weight$/;
const OTHER_PARTS: readonly (readonly [RegExp, string])[] = [
  [
    /\.lora_embedding_[AB]\b/,
    "an adapted embedding table adds to the looked-up rows, for which the graph has no inputs",
  ],
  [/\.lora_magnitude_vector\b/, "DoRA's lengths of rows change the base weight"],
  [/\.lora_[AB](\.[\w-]+)?\.bias$/, "a bias of an adapter's matrix would be one more input for each layer"],
];

/** Errors: LRA001 no adapter, LRA002–LRA005 for what is in it, CKP001–CKP015 for the files. */
export async function openAdapter(pool: FilePool, dir: string): Promise<Adapter> {
  const names = await readdir(dir).catch((error: unknown) => {
    throw asProblem(dir, error);
  });
  const weights = WEIGHTS.find(name => names.includes(name));
  if (!names.includes(ADAPTER_CONFIG) || weights === undefined) fail(noAdapter(dir, names));
  const config = await readAdapterConfig(join(dir, ADAPTER_CONFIG));
  const path = join(dir, weights);
  const stored = weights.endsWith(".bin") ? await openTorch(pool, path) : (await openSafetensors(pool, path)).tensors;
  return { dir, name: basename(dir), config, weights, ...sortTensors(stored, config) };
}

function sortTensors(
  stored: ReadonlyMap<string, StoredTensor>,
  config: AdapterConfig,
): Pick<Adapter, "halves" | "whole"> {
  const halves = new Map<string, AdapterHalves>();
  const whole = new Map<string, StoredTensor>();
  const problems: Problem[] = [];
  for (const [name, tensor] of stored) {
    const own = name.startsWith(PREFIX) ? name.slice(PREFIX.length) : name;
    const other = OTHER_PARTS.find(([pattern]) => pattern.test(own));
    const [, path, half] = HALF.exec(own) ?? [];
    if (other !== undefined) problems.push(otherForm(tensor, other[1]));
    else if (path !== undefined) {
      const key = half === "A" ? "a" : "b";
      const known = halves.get(path) ?? {};
      if (known[key] !== undefined) problems.push(twice(path, known[key], tensor));
      else halves.set(path, { ...known, [key]: tensor });
    } else if (isWhole(own, config)) whole.set(own.replace(".modules_to_save", ""), tensor);
    else problems.push(unknownTensor(tensor));
  }
  throwIfAny(problems.slice(0, 20));
  return { halves, whole };
}

/** Tensors of modules_to_save, trained biases, and the tables that PEFT saves by itself when the vocabulary grew. */
function isWhole(name: string, { bias }: AdapterConfig): boolean {
  return name.endsWith(".weight") || (bias !== "none" && name.endsWith(".bias")) || name.includes(".modules_to_save.");
}

function noAdapter(dir: string, names: readonly string[]): Problem {
  const nemo = names.some(name => name.endsWith(".nemo"));
  const missing = [ADAPTER_CONFIG, WEIGHTS.join(" or ")].filter(
    (_, i) => !(i === 0 ? names.includes(ADAPTER_CONFIG) : WEIGHTS.some(name => names.includes(name))),
  );
  return {
    code: "LRA001",
    what: `${dir} is no LoRA adapter: ${missing.join(" and ")} ${missing.length > 1 ? "are" : "is"} missing`,
    at: dir,
    why: nemo
      ? "it holds a .nemo archive, and adapters are read as PEFT saves them"
      : "PEFT saves an adapter as a config and one file of tensors",
    fix: nemo
      ? "convert the adapter to PEFT's form with NeMo's scripts"
      : "give the directory that PEFT's save_pretrained wrote",
  };
}

function otherForm(tensor: StoredTensor, why: string): Problem {
  return {
    code: "LRA003",
    what: `${tensor.name} is no half of a linear layer's adapter`,
    at: `${tensor.name} in ${tensor.at}`,
    why,
    fix: "merge the adapter with PEFT (merge_and_unload) and convert the result, or train without it",
  };
}

function twice(path: string, first: StoredTensor, second: StoredTensor): Problem {
  return {
    code: "LRA005",
    what: `${first.name} and ${second.name} are both the same half of ${path}`,
    at: `${second.name} in ${second.at}`,
    why: "two adapters are in one file, and the layer takes one",
    fix: "save one adapter alone: save_pretrained(DIR, selected_adapters=[NAME])",
  };
}

function unknownTensor(tensor: StoredTensor): Problem {
  return {
    code: "LRA005",
    what: `${tensor.name} is neither half of an adapter nor a whole tensor of the base model`,
    at: `${tensor.name} in ${tensor.at}`,
    why: "a tensor that nothing reads means that the adapter computes something else than it would here",
    fix: "save the adapter again with PEFT",
  };
}

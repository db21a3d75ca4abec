import type { Problem } from "../diagnostics/index.ts";
import type { SourceTensor } from "../models/architecture.ts";
import { CASTABLE, type StoredTensor, sameShape, showShape } from "../tensor/index.ts";
import { lookAlikes } from "./names.ts";

/** Which stored tensors became what; goes into mmtrt.json. */
export interface CoverageSummary {
  readonly used: number;
  readonly ignored: readonly string[];
}

const MAX_LISTED = 8;

/** Hands out stored tensors by canonical name, checks each, and knows at the end what was missing or left over. */
export class Coverage {
  readonly #tensors: ReadonlyMap<string, StoredTensor>;
  readonly #used = new Set<string>();
  readonly #ignored = new Set<string>();
  readonly #missing: SourceTensor[] = [];
  readonly #seen = new Set<string>();
  readonly #problems: Problem[] = [];

  constructor(tensors: ReadonlyMap<string, StoredTensor>) {
    this.#tensors = tensors;
  }

  /** The tensor if it is there, floating point and of the shape that config.json implies; problems are kept otherwise. */
  take(wanted: SourceTensor): StoredTensor | undefined {
    const { otherwise } = wanted;
    const source = otherwise && !this.#tensors.has(wanted.name) ? { name: otherwise, shape: wanted.shape } : wanted;
    const tensor = this.#tensors.get(source.name);
    const first = !this.#seen.has(source.name);
    this.#seen.add(source.name);
    if (tensor === undefined) {
      if (first) this.#missing.push(source);
      return undefined;
    }
    this.#used.add(source.name);
    const problem = checkTensor(tensor, source);
    if (problem === undefined) return tensor;
    if (first) this.#problems.push(problem);
    return undefined;
  }

  /** Those of `names` that are stored and that nobody took. */
  unused(names: readonly string[]): string[] {
    return names.filter(name => this.#tensors.has(name) && !this.#used.has(name));
  }

  ignore(patterns: readonly RegExp[]): void {
    for (const name of this.#tensors.keys()) {
      if (!this.#used.has(name) && patterns.some(pattern => pattern.test(name))) this.#ignored.add(name);
    }
  }

  /**
   * `layers`: what config.json says, to tell a wrong layer count from a missing shard; `prefix`: what stands before a
   * layer's number in the language model's names.
   */
  problems(layers: number, prefix: string): Problem[] {
    const layerOf = (name: string): number => numberAfter(prefix, name);
    const leftOver = [...this.#tensors.keys()].filter(name => !this.#used.has(name) && !this.#ignored.has(name));
    const stored = [...this.#tensors.keys()].reduce((most, name) => Math.max(most, layerOf(name) + 1), 0);
    if (
      this.#missing.length > 0 &&
      stored > 0 &&
      stored < layers &&
      this.#missing.some(m => layerOf(m.name) >= stored)
    ) {
      const others = this.#missing.filter(m => layerOf(m.name) < stored);
      return [
        fewerLayers(stored, layers),
        ...this.#problems,
        ...listMissing(others, leftOver),
        ...listLeftOver(leftOver, this.#tensors),
      ];
    }
    return [...this.#problems, ...listMissing(this.#missing, leftOver), ...listLeftOver(leftOver, this.#tensors)];
  }

  get summary(): CoverageSummary {
    const stored = (name: string): string => this.#tensors.get(name)?.name ?? name;
    return { used: this.#used.size, ignored: [...this.#ignored].map(stored).sort() };
  }
}

/** The layer a tensor belongs to, −1 when to none. */
function numberAfter(prefix: string, name: string): number {
  if (prefix === "" || !name.startsWith(prefix)) return -1;
  return Number(/^(\d{1,9})\./.exec(name.slice(prefix.length))?.[1] ?? -1);
}

function checkTensor(tensor: StoredTensor, source: SourceTensor): Problem | undefined {
  if (!CASTABLE.includes(tensor.dtype)) {
    return {
      code: "CKP043",
      what: `${tensor.name} is ${tensor.dtype}; expected one of ${CASTABLE.join(", ")}`,
      at: `${tensor.name} in ${tensor.at}`,
      why: "integers stand for codes of a quantized checkpoint, and no quantization_config says what codes these are",
      fix: "add the quantization_config or hf_quant_config.json that belongs to these weights, or convert the unquantized checkpoint",
    };
  }
  if (sameShape(tensor.shape, source.shape)) return undefined;
  return {
    code: "CKP042",
    what: `${tensor.name} is ${showShape(tensor.shape)}; config.json implies ${showShape(source.shape)}`,
    at: `${tensor.name} in ${tensor.at}`,
    why: "the graph's matrix products have the sizes of config.json",
    fix: "use the config.json that belongs to these weights",
  };
}

function fewerLayers(stored: number, layers: number): Problem {
  return {
    code: "CKP040",
    what: `config.json says ${layers} layers, but the weights have ${stored}`,
    at: "config.json: num_hidden_layers",
    why: "a layer without weights cannot be computed",
    fix: `give num_hidden_layers as ${stored} if that is the model, or add the missing shards`,
  };
}

function listMissing(missing: readonly SourceTensor[], leftOver: readonly string[]): Problem[] {
  const [first] = missing;
  if (first === undefined) return [];
  const alike = missing.slice(0, MAX_LISTED).flatMap(({ name }) => lookAlikes(name, leftOver, 1));
  const hint = alike.length > 0 ? `; left over and alike: ${[...new Set(alike)].join(", ")}` : "";
  const tied = first.name === "lm_head.weight" && missing.length === 1;
  return [
    {
      code: "CKP040",
      what: `${missing.length} tensor${missing.length > 1 ? "s are" : " is"} missing: ${listed(missing.map(m => `${m.name} ${showShape(m.shape)}`))}${hint}`,
      at: first.name,
      why: "config.json implies them, and a model without them would compute something else",
      fix: tied
        ? 'if lm_head is the embedding table, set "tie_word_embeddings": true; otherwise add the shard that holds lm_head.weight'
        : "add the missing shard, or use the config.json that belongs to these weights",
    },
  ];
}

function listLeftOver(names: readonly string[], tensors: ReadonlyMap<string, StoredTensor>): Problem[] {
  const [first] = names;
  const tensor = first === undefined ? undefined : tensors.get(first);
  if (tensor === undefined) return [];
  const stored = names.map(name => tensors.get(name)?.name ?? name);
  return [
    {
      code: "CKP041",
      what: `${names.length} stored tensor${names.length > 1 ? "s have" : " has"} no place in the model: ${listed(stored)}`,
      at: `${tensor.name} in ${tensor.at}`,
      why: "a tensor that nothing reads means that config.json describes another model than the weights",
      fix: "use the config.json that belongs to these weights, or remove the tensors if they have no effect",
    },
  ];
}

function listed(names: readonly string[]): string {
  const rest = names.length - MAX_LISTED;
  return names.slice(0, MAX_LISTED).join(", ") + (rest > 0 ? ` and ${rest} more` : "");
}

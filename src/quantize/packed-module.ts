import type { Problem } from "../diagnostics/index.ts";
import {
  cast,
  type Dtype,
  elementCount,
  fromStored,
  isFloatDtype,
  recipeBytes,
  type Shape,
  type StoredTensor,
  sameShape,
  showShape,
} from "../tensor/index.ts";
import { floatView } from "./lazy.ts";

/** Hands out the tensors of one linear layer, each checked; what does not fit becomes a problem. */
export class PackedModule {
  readonly name: string;
  readonly problems: Problem[] = [];
  readonly #tensors: ReadonlyMap<string, StoredTensor>;
  readonly #used = new Set<string>();

  constructor(name: string, tensors: ReadonlyMap<string, StoredTensor>) {
    this.name = name;
    this.#tensors = tensors;
  }

  /** Stored names that were handed out: what the layer's weight is made of. */
  get used(): ReadonlySet<string> {
    return this.#used;
  }

  has(part: string): boolean {
    return this.#tensors.has(`${this.name}.${part}`);
  }

  /** The tensor if it is there and has two axes and one of `dtypes`. */
  matrix(part: string, dtypes: readonly Dtype[]): StoredTensor | undefined {
    const tensor = this.#take(part, dtypes);
    if (tensor === undefined || tensor.shape.length === 2) return tensor;
    return this.refuse(tensor, `is ${showShape(tensor.shape)}; expected two axes`);
  }

  /** The tensor if it is there with one of `dtypes` and that shape. */
  of(part: string, dtypes: readonly Dtype[], shape: Shape): StoredTensor | undefined {
    return this.sized(part, dtypes, [shape]);
  }

  /** The same with one of `shapes`. */
  sized(part: string, dtypes: readonly Dtype[], shapes: readonly Shape[]): StoredTensor | undefined {
    const tensor = this.#take(part, dtypes);
    if (tensor === undefined || shapes.some(shape => sameShape(tensor.shape, shape))) return tensor;
    const [expected = []] = shapes;
    return this.refuse(tensor, `is ${showShape(tensor.shape)}; its layer's codes imply ${showShape(expected)}`);
  }

  /** The tensor as it is, without taking it. */
  peek(part: string): StoredTensor | undefined {
    return this.#tensors.get(`${this.name}.${part}`);
  }

  /** A tensor whose values are of no use in the form that the layer gets. */
  drop(part: string): void {
    const tensor = this.peek(part);
    if (tensor) this.#used.add(tensor.name);
  }

  /** A float tensor of one element. */
  async scalar(part: string): Promise<number | undefined> {
    const tensor = this.#take(part, ["float32", "float16", "bfloat16"]);
    if (tensor === undefined) return undefined;
    if (elementCount(tensor.shape) !== 1)
      return this.refuse(tensor, `is ${showShape(tensor.shape)}; expected one value`);
    return scalarOf(tensor);
  }

  refuse(tensor: StoredTensor, what: string): undefined {
    this.problems.push({
      code: "CKP092",
      what: `${tensor.name} ${what}`,
      at: `${tensor.name} in ${tensor.at}`,
      why: "codes, scales and zero points of a layer describe one matrix together",
      fix: "use the config.json that belongs to these weights, or download the checkpoint again",
    });
    return undefined;
  }

  #take(part: string, dtypes: readonly Dtype[]): StoredTensor | undefined {
    const tensor = this.#tensors.get(`${this.name}.${part}`);
    if (tensor === undefined) {
      this.problems.push(missing(`${this.name}.${part}`));
      return undefined;
    }
    this.#used.add(tensor.name);
    if (dtypes.includes(tensor.dtype)) return tensor;
    return this.refuse(tensor, `is ${tensor.dtype}; expected ${dtypes.join(" or ")}`);
  }
}

export function missing(name: string): Problem {
  return {
    code: "CKP092",
    what: `${name} is missing`,
    at: name,
    why: "a quantized layer is codes with their scales and, where the format has them, zero points",
    fix: "add the missing shard, or use the config.json that belongs to these weights",
  };
}

/** Value of a tensor with one element, in float32. */
export async function scalarOf(tensor: StoredTensor): Promise<number> {
  if (!isFloatDtype(tensor.dtype) || elementCount(tensor.shape) !== 1) throw new Error(`${tensor.name} is no number`);
  for await (const bytes of recipeBytes(cast(fromStored(tensor), "float32"))) return floatView(bytes)[0] as number;
  return Number.NaN;
}

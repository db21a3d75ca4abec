import {
  cast,
  type FloatDtype,
  type LinearForm,
  linearForm,
  moduleOf,
  named,
  type PackedLinear,
  type PackedPlanes,
  type QuantSpec,
  reshape,
  sliceColumns,
  smoothNames,
  type TensorRecipe,
} from "../tensor/index.ts";
import { packNibbles } from "./codes.ts";
import { asHalves, permuted } from "./layouts.ts";
import { floatView, lazyFloats, roundTo } from "./lazy.ts";
import { inputsFirst, outputsFirst, repeatGroups, rescaledE4m3, shortsOf } from "./packed-codes.ts";
import type { PackedModel } from "./packed-forms.ts";
import type { Quantizer, RankPlace } from "./quantizer.ts";

type Form<K extends LinearForm["kind"]> = Extract<LinearForm, { kind: K }>;

/** Stores the codes of a quantized source as they are, in the tensors that `spec`'s form has. */
export function packedQuantizer(spec: QuantSpec, model: PackedModel): Quantizer {
  const cacheScales = spec.kvCacheQuantAlgo === model.scheme.kvCache ? model.cacheScales : new Map<number, number>();
  /** Global name of a module that has codes in the checkpoint. */
  const partsOf = (module: string): readonly PackedLinear[] => model.modules.get(module) ?? [];
  const wholeName = (module: string, layer: number): string => module.replace(/layers\.\d+/, `layers.${layer}`);
  return {
    spec,
    storesCacheScales: cacheScales.size > 0,
    packed(module) {
      const parts = partsOf(module);
      const scale = largest(parts, "weightScale");
      return parts.length === 0 ? undefined : parts.map(part => alike(part, spec, scale));
    },
    store(recipe, place, share) {
      const module = moduleOf(recipe.name);
      if (module === undefined) return [recipe];
      const whole = wholeName(module, place.layer);
      const cache = cacheScale(module, cacheScales.get(place.layer), recipe);
      if (share === undefined) return [recipe, ...cache];
      const stored = new StoredLinear(module, recipe, share, place, partsOf(whole), gateOf(whole, partsOf));
      return [...stored.tensors(spec), ...cache];
    },
  };
}

/** fc and gate share their input, and with it the scale that brings it to codes. */
function gateOf(module: string, partsOf: (module: string) => readonly PackedLinear[]): readonly PackedLinear[] {
  if (module.endsWith(".mlp.fc")) return partsOf(module.replace(/fc$/, "gate"));
  return module.endsWith(".mlp.gate") ? partsOf(module.replace(/gate$/, "fc")) : [];
}

function largest(parts: readonly PackedLinear[], key: "weightScale" | "inputScale"): number {
  return parts.reduce((most, part) => Math.max(most, part[key] ?? 0), 0);
}

/** A part as the parts beside it are: groups of one size, zero points or none, one scale. */
function alike(part: PackedLinear, spec: QuantSpec, scale: number): PackedPlanes {
  if (part.kind === "fp8" && spec.quantAlgo === "FP8") {
    const recipe = rescaledE4m3(part.codes.recipe, (part.weightScale ?? scale) / scale);
    return { codes: { recipe, turned: false }, scales: part.scales };
  }
  const grouped = spec.quantAlgo === "W4A16_GPTQ" || spec.quantAlgo === "W4A16_AWQ";
  const times = grouped ? part.inputs / part.groups / spec.groupSize : 1;
  const scales = repeatGroups(part.scales, times);
  if (!spec.hasZeroPoint) return { codes: part.codes, scales };
  const zeros = part.zeros ?? { recipe: noZeros(part), turned: true };
  return { codes: part.codes, scales, zeros: repeatGroups(zeros, times) };
}

function noZeros({ module, groups, outputs }: PackedLinear): TensorRecipe {
  const readRows = async (start: number, end: number): Promise<Uint8Array> =>
    new Uint8Array(2 * (end - start) * outputs);
  return { name: module, dtype: "int16", shape: [groups, outputs], sources: [], readRows };
}

/** One rank's share of a linear layer, on its way to the file. */
class StoredLinear {
  readonly #module: string;
  readonly #float: FloatDtype;
  readonly #share: PackedPlanes;
  readonly #place: RankPlace;
  readonly #parts: readonly PackedLinear[];
  /** The layer that shares the input. */
  readonly #beside: readonly PackedLinear[];
  readonly #size: readonly [number, number];

  constructor(
    module: string,
    recipe: TensorRecipe,
    share: PackedPlanes,
    place: RankPlace,
    parts: readonly PackedLinear[],
    beside: readonly PackedLinear[],
  ) {
    this.#module = module;
    this.#float = recipe.dtype as FloatDtype;
    this.#size = recipe.shape as readonly [number, number];
    this.#share = share;
    this.#place = place;
    this.#parts = parts;
    this.#beside = beside;
  }

  tensors(spec: QuantSpec): readonly TensorRecipe[] {
    const form = linearForm(spec, this.#module);
    switch (form.kind) {
      case "channel":
        return this.#channel(form, spec);
      case "group":
        return this.#group(form, spec);
      case "smooth":
        return this.#smooth(form);
      case "fp8":
        return this.#fp8();
      case "plain":
        throw new Error(`${this.#module} has codes and is stored plain`);
    }
  }

  #channel({ bits }: Form<"channel">, { weightLayout }: QuantSpec): TensorRecipe[] {
    const { codes } = this.#share;
    const plain = (): TensorRecipe => (bits === 4 ? packNibbles(inputsFirst(codes)) : inputsFirst(codes));
    const weight = weightLayout === "plain" ? plain() : permuted(outputsFirst(codes), bits, weightLayout);
    return [
      this.#named("weight", weight),
      this.#named("per_channel_scale", cast(this.#scaleOfOutputs([this.#size[0]]), this.#float)),
    ];
  }

  #group({ zeros, prequant }: Form<"group">, { weightLayout }: QuantSpec): TensorRecipe[] {
    const { codes } = this.#share;
    const weight =
      weightLayout === "plain"
        ? packNibbles(inputsFirst(codes))
        : asHalves(permuted(outputsFirst(codes), 4, weightLayout), this.#float);
    const scales = cast(inputsFirst(this.#share.scales), this.#float);
    return [
      this.#named("weight", weight),
      this.#named("weights_scaling_factor", scales),
      ...(zeros ? [this.#named("zero", this.#zero(scales))] : []),
      ...(prequant ? [this.#named("prequant_scaling_factor", this.#prequant())] : []),
    ];
  }

  /** −zero · scale, from the scale as it is stored: what a code equal to its zero point has to be cancelled by. */
  #zero(scales: TensorRecipe): TensorRecipe {
    if (this.#share.zeros === undefined) throw new Error(`${this.#module} has no zero points`);
    const zeros = inputsFirst(this.#share.zeros);
    const wide = cast(scales, "float32");
    const readRows = async (start: number, end: number): Promise<Uint8Array> => {
      const [z, s] = [shortsOf(await zeros.readRows(start, end)), floatView(await wide.readRows(start, end))];
      const values = s.map((scale, i) => -(z[i] as number) * scale + 0);
      return new Uint8Array(roundTo(this.#float, values).buffer);
    };
    return cast(
      { name: zeros.name, dtype: "float32", shape: zeros.shape, sources: zeros.sources, readRows },
      this.#float,
    );
  }

  #prequant(): TensorRecipe {
    const [, k] = this.#size;
    const whole = this.#parts.find(({ prequant }) => prequant !== undefined)?.prequant;
    if (whole === undefined)
      return cast(
        this.#floats("", [k], () => new Float32Array(k).fill(1)),
        this.#float,
      );
    const start = this.#place.split === "row" ? this.#place.tpRank * k : 0;
    return reshape(cast(sliceColumns(whole, start, start + k), this.#float), [k]);
  }

  /**
   * W8A8 without smoothing: y = Σ codes · codes × (act_scale · per_channel_scale), where act_scale is the input's scale
   * and the other the weight's; TensorRT-LLM multiplies the two.
   */
  #smooth({ perToken }: Form<"smooth">): TensorRecipe[] {
    const [n, k] = this.#size;
    const names = smoothNames(this.#module);
    const input = largest([...this.#parts, ...this.#beside], "inputScale");
    const scales = cast(this.#scaleOfOutputs([1, n]), "float32");
    const out = [this.#named("weight", outputsFirst(this.#share.codes)), this.#named("per_channel_scale", scales)];
    if (!perToken)
      out.push(
        this.#named(
          "act_scale",
          this.#floats("", [1, 1], () => Float32Array.of(input)),
        ),
      );
    if ((!perToken || names.writtenPerToken) && !this.#module.endsWith(".gate"))
      out.push(this.#floats(names.inputScale, [1], () => Float32Array.of(perToken ? 1 : 1 / input)));
    if (names.smoother !== undefined) out.push(this.#floats(names.smoother, [1, k], () => new Float32Array(k).fill(1)));
    return out;
  }

  #fp8(): TensorRecipe[] {
    const scalar = (key: "weightScale" | "inputScale") => (): Float32Array =>
      Float32Array.of(largest(this.#parts, key));
    return [
      this.#named("weight", outputsFirst(this.#share.codes)),
      this.#floats(`${this.#module}.weights_scaling_factor`, [1], scalar("weightScale")),
      this.#floats(`${this.#module}.activation_scaling_factor`, [1], scalar("inputScale")),
    ];
  }

  #scaleOfOutputs(shape: readonly number[]): TensorRecipe {
    return reshape(outputsFirst(this.#share.scales), shape);
  }

  #floats(name: string, shape: readonly number[], values: () => Float32Array): TensorRecipe {
    return lazyFloats(name, shape, this.#share.scales.recipe.sources, async () => values());
  }

  #named(part: string, recipe: TensorRecipe): TensorRecipe {
    return named(`${this.#module}.${part}`, recipe);
  }
}

function cacheScale(module: string, scale: number | undefined, { sources }: TensorRecipe): TensorRecipe[] {
  if (scale === undefined || !module.endsWith(".qkv")) return [];
  const name = module.replace(/qkv$/, "kv_cache_scaling_factor");
  return [lazyFloats(name, [1], sources, async () => Float32Array.of(scale))];
}

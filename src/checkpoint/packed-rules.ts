import type { Problem } from "../diagnostics/index.ts";
import { packedForm } from "../quantize/packed-forms.ts";
import type { QuantSpec, TensorType } from "../tensor/index.ts";
import type { PackedSource } from "./packed.ts";
import type { Origin } from "./parallel-rules.ts";
import type { QuantizationOptions } from "./quantization-options.ts";
import { shapeProblems } from "./quantization-rules.ts";

/** What becomes of a quantized source under the options of `convert`. */
export interface SourceForm {
  /** The source's own codes are stored; otherwise it is turned back into float weights first. */
  readonly keeps: boolean;
  readonly spec?: QuantSpec;
  readonly notes: readonly Problem[];
  readonly problems: readonly Problem[];
}

/** Options that name no format for the weights keep the source's; another format is made of the weights it stands for. */
export function sourceForm(
  options: QuantizationOptions,
  asked: QuantSpec | undefined,
  packed: PackedSource,
  ranks: readonly (readonly TensorType[])[],
  origin: Origin,
): SourceForm {
  const named = options.use_weight_only && /^int4_(gptq|awq)$/.test(options.weight_only_precision);
  const other = asked?.quantAlgo != null && !named;
  if (other || options.qformat === "full_prec")
    return { keeps: false, notes: other ? [again(asked?.quantAlgo ?? "", packed)] : [], problems: [] };
  const { spec, notes, problems } = packedForm(packed, options.weight_layout);
  const wrong = [
    ...problems,
    ...(named ? disagreements(options, packed, origin) : []),
    ...(spec?.quantAlgo === "W4A16_AWQ" && options.weight_layout !== "plain"
      ? [arrangedByTensorRT(options, origin)]
      : []),
  ];
  const cache = asked?.kvCacheQuantAlgo ?? null;
  const full = spec && cache !== null ? { ...spec, kvCacheQuantAlgo: cache } : spec;
  const all = [...packed.notes, ...notes];
  if (full === undefined) return { keeps: false, notes: all, problems: wrong };
  const shapes = full.quantAlgo === null ? [] : shapeProblems(full, ranks, "config.json: quantization_config");
  return { keeps: true, spec: full, notes: all, problems: [...wrong, ...shapes] };
}

function arrangedByTensorRT({ weight_layout }: QuantizationOptions, origin: Origin): Problem {
  return {
    code: "CKP081",
    what: `weight_layout ${weight_layout} is set for AWQ`,
    at: origin("weight_layout"),
    why: "TensorRT-LLM brings AWQ's codes into its kernels' order when it loads them, so no checkpoint of it has them so",
    fix: "leave out --weight_layout",
  };
}

function again(algo: string, { scheme }: PackedSource): Problem {
  return {
    code: "CKP094",
    what: `weights that ${scheme.method} has quantized are quantized again, as ${algo}`,
    at: "config.json: quantization_config",
    why: "the options name another format; what the first one rounded away stays lost",
    fix: "leave out the options of quantization to keep the checkpoint's own codes, or convert the unquantized checkpoint",
  };
}

/** `--weight_only_precision int4_gptq` for what is not GPTQ, or another group size than the checkpoint's. */
function disagreements(options: QuantizationOptions, { scheme }: PackedSource, origin: Origin): Problem[] {
  const problems: Problem[] = [];
  const method = options.weight_only_precision === "int4_awq" ? "awq" : "gptq";
  if (method !== scheme.method || scheme.codes !== "int4")
    problems.push({
      code: "CKP081",
      what: `weight_only_precision ${options.weight_only_precision} is set, and the checkpoint is ${scheme.method} with ${scheme.codes} codes`,
      at: origin("weight_only_precision"),
      why: "the codes are taken from the checkpoint as they are",
      fix: "leave out --use_weight_only and --weight_only_precision: config.json says what the checkpoint is",
    });
  if (options.group_size !== undefined && options.group_size !== scheme.groupSize)
    problems.push({
      code: "CKP081",
      what: `group_size ${options.group_size} is set, and the checkpoint has ${scheme.groupSize ?? "one group of all inputs"}`,
      at: origin("group_size"),
      why: "the codes are taken from the checkpoint as they are",
      fix: "leave out --group_size",
    });
  return problems;
}

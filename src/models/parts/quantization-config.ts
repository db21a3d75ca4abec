import type { PackedScheme } from "../../tensor/index.ts";
import { ConfigReader } from "../config-reader.ts";
import { readCompressedTensors } from "./compressed-tensors-config.ts";

type Json = Readonly<Record<string, unknown>>;

const KEYS = ["quantization_config", "compression_config"] as const;

/** Configs of language models inside other models, which may say it instead of the top. */
const NESTED = ["text_config", "llm_cfg"] as const;

const READERS: Readonly<Record<string, (c: ConfigReader) => PackedScheme | undefined>> = {
  gptq: readGptq,
  awq: readAwq,
  "compressed-tensors": readCompressedTensors,
  modelopt: readModelOpt,
};

/** What can be read, for the one message that says so. */
const READABLE =
  "gptq (4 and 8 bits), awq (gemm), compressed-tensors (pack-, int- and float-quantized) and modelopt (FP8, W4A16_AWQ)";

/** `quantization_config` of this part of the config; undefined where there is none, or none that can be read (noted in `c`). */
export function readPackedScheme(c: ConfigReader): PackedScheme | undefined {
  let scheme: PackedScheme | undefined;
  for (const key of KEYS) {
    const value = c.raw(key);
    if (value === undefined || value === null) continue;
    const method =
      (value as { quant_method?: unknown }).quant_method ??
      (key === "compression_config" ? "compressed-tensors" : undefined);
    const read = typeof method === "string" && Object.hasOwn(READERS, method) ? READERS[method] : undefined;
    if (read !== undefined) scheme ??= read(c.object(key).ignore("quant_method"));
    else
      c.problem(
        "SPC009",
        key,
        `says the weights are quantized by ${typeof method === "string" ? method : "an unnamed method"}; readable: ${READABLE}`,
        "the stored tensors are codes and scales; read as weights they would give a wrong model",
        "convert the unquantized checkpoint of the same model, with --use_weight_only or --qformat to quantize it here",
      );
  }
  return scheme;
}

/** The scheme of a config that was read without problems, wherever it stands in it. */
export function packedSchemeOf(config: Json): PackedScheme | undefined {
  const parts = [config, ...NESTED.map(key => config[key])];
  for (const part of parts) {
    if (typeof part !== "object" || part === null) continue;
    const scheme = readPackedScheme(new ConfigReader(part as Json, "config.json"));
    if (scheme !== undefined) return scheme;
  }
  return undefined;
}

/** −1 stands for one group of all inputs. */
function readGroupSize(c: ConfigReader): number | null {
  const size = c.signed("group_size", 128);
  if (size > 0 && size <= 1 << 20) return size;
  if (size !== -1)
    c.problem(
      "SPC002",
      "group_size",
      `is ${size}; expected −1 or a number of inputs`,
      "it says which weights share a scale",
      "give group_size as the checkpoint was quantized",
    );
  return null;
}

/** AutoGPTQ and GPTQModel. The order of inputs (desc_act) is told by the tensors: a g_idx in order does no harm. */
function readGptq(c: ConfigReader): PackedScheme {
  c.integer("bits");
  c.only("bits", [4, 8], "codes of 2 and 3 bits have no kernels, and those of 3 lie across words");
  c.only("is_marlin_format", [false], "marlin's codes are in the order of its GPU kernel");
  c.only("pack_dtype", ["int32"], "codes in words of another size lie elsewhere");
  const dynamic = c.raw("dynamic");
  if (typeof dynamic === "object" && dynamic !== null && Object.keys(dynamic).length > 0)
    c.problem(
      "SPC009",
      "dynamic",
      "gives some modules other bits or group sizes",
      "one checkpoint has one form for all linear layers",
      "convert a checkpoint quantized alike throughout, or the unquantized one",
    );
  const format = formatOf(c, ["gptq", "gptq_v2"], "other formats have the codes in the order of a GPU kernel");
  ignoreNotes(c);
  c.ignore("desc_act", "sym", "static_groups", "true_sequential", "damp_percent", "damp_auto_increment", "lm_head");
  c.ignore("use_exllama", "disable_exllama", "exllama_config", "max_input_length", "use_cuda_fp16", "act_group_aware");
  c.ignore("modules_in_block_to_quantize", "block_name_to_quantize", "module_name_preceding_first_block", "mse");
  c.ignore("dataset", "tokenizer", "batch_size", "pad_token_id", "cache_block_outputs", "model_seqlen", "hyb_act");
  return {
    method: "gptq",
    codes: c.raw("bits") === 8 ? "int8" : "int4",
    groupSize: readGroupSize(c),
    zeroOffset: format === "gptq_v2" ? 0 : 1,
    activations: "float",
    kvCache: null,
  };
}

/** AutoAWQ's gemm layout. Its gemv layouts have the same names and other orders, so the version must say. */
function readAwq(c: ConfigReader): PackedScheme {
  c.integer("bits");
  c.only("bits", [4], "AWQ's kernels have 4 bits");
  const version = c.raw("version");
  if (version !== undefined && version !== null && String(version).toLowerCase() !== "gemm")
    c.problem(
      "SPC009",
      "version",
      `is ${JSON.stringify(version)}; supported: "gemm"`,
      "the gemv layouts have their codes in another order under the same names",
      'convert a checkpoint that AutoAWQ saved with version "GEMM", or the unquantized one',
    );
  c.only("backend", ["autoawq"], "llm-awq has its codes in another order under the same names");
  formatOf(c, ["gemm"], "other formats have the codes in the order of a GPU kernel");
  ignoreNotes(c);
  c.ignore("zero_point", "modules_to_not_convert", "do_fuse", "fuse_max_seq_len", "modules_to_fuse", "exllama_config");
  return {
    method: "awq",
    codes: "int4",
    groupSize: readGroupSize(c),
    zeroOffset: 0,
    activations: "float",
    kvCache: null,
  };
}

/** NVIDIA ModelOpt: hf_quant_config.json, or the same keys in config.json. Which modules stay plain is told by the tensors. */
function readModelOpt(c: ConfigReader): PackedScheme {
  const fp8 = c.choice("quant_algo", ["FP8", "W4A16_AWQ"]) === "FP8";
  c.ignore("exclude_modules", "ignore", "producer", "config_groups", "pre_quant_scale", "group_size");
  c.only("has_zero_point", [false], "ModelOpt's AWQ is symmetric");
  const cache = c.choice("kv_cache_quant_algo", ["FP8", "INT8", "none"], "none");
  const type = c
    .object("kv_cache_scheme")
    .ignore("dynamic", "num_bits")
    .choice("type", ["float", "int", "none"], "none");
  return {
    method: "modelopt",
    codes: fp8 ? "fp8" : "int4",
    groupSize: fp8 ? null : readGroupSize(c),
    zeroOffset: 0,
    activations: fp8 ? "static" : "float",
    kvCache: cache !== "none" ? cache : ({ float: "FP8", int: "INT8", none: null } as const)[type],
  };
}

/** `checkpoint_format`, or `format` in newer files. */
function formatOf(c: ConfigReader, known: readonly string[], why: string): unknown {
  let format: unknown;
  for (const key of ["checkpoint_format", "format"]) {
    c.only(key, known, why);
    format ??= c.raw(key) ?? undefined;
  }
  return format;
}

/** Who made it and from what. */
function ignoreNotes(c: ConfigReader): void {
  c.ignore("meta", "quantizer", "model_name_or_path", "model_file_base_name", "backend");
}

import type { PackedScheme } from "../../tensor/index.ts";
import type { ConfigReader } from "../config-reader.ts";

/** Formats whose tensors are read; nvfp4, marlin and the sparse ones are others. */
const FORMATS = ["pack-quantized", "int-quantized", "float-quantized", "naive-quantized"] as const;

/** compressed-tensors: one group of modules, quantized alike. Which modules stay plain is told by the tensors. */
export function readCompressedTensors(c: ConfigReader): PackedScheme | undefined {
  c.ignore("ignore", "global_compression_ratio", "version", "quantization_status");
  c.choice("format", FORMATS, "pack-quantized");
  nothingIn(c, "sparsity_config", "sparse weights are stored as bit masks and values");
  nothingIn(c, "transform_config", "inputs would have to be rotated before the products");
  const group = oneGroup(c);
  if (group === undefined) return undefined;
  group.ignore("targets");
  group.only("output_activations", [null], "outputs would be rounded to codes");
  group.choice("format", FORMATS, "pack-quantized");
  const weights = readArgs(group, "weights");
  weights.only("dynamic", [false], "weights have stored scales");
  const float = weights.choice("type", ["int", "float"], "int") === "float";
  weights.only("num_bits", float ? [8] : [4, 8], "codes of that size have no kernels");
  const grouped = weights.choice("strategy", ["tensor", "channel", "group"], "tensor") === "group";
  const codes = float ? "fp8" : weights.integer("num_bits", 8) === 4 ? "int4" : "int8";
  return {
    method: "compressed-tensors",
    codes,
    groupSize: grouped ? weights.integer("group_size") : null,
    zeroOffset: 0,
    activations: readActivations(group, codes),
    kvCache: readCache(c),
  };
}

/** `config_groups` names groups of modules; several are one when they say the same. */
function oneGroup(c: ConfigReader): ConfigReader | undefined {
  const groups = c.object("config_groups");
  const value = c.raw("config_groups");
  const named = typeof value === "object" && value !== null ? Object.entries(value) : [];
  const [first] = named;
  groups.ignore(...named.map(([name]) => name));
  const said = new Set(named.map(([, group]) => JSON.stringify({ ...(group as object), targets: null })));
  if (first !== undefined && said.size === 1) return groups.object(first[0]);
  c.problem(
    first === undefined ? "SPC001" : "SPC009",
    "config_groups",
    first === undefined ? "names no group of modules" : `has ${said.size} groups that are quantized differently`,
    "one checkpoint has one form for all linear layers",
    "convert a checkpoint quantized alike throughout, or the unquantized one",
  );
  return undefined;
}

/** How one kind of tensor is quantized. What observers did is past; the order of inputs (actorder) is told by a g_idx. */
function readArgs(c: ConfigReader, key: string): ConfigReader {
  const args = c.object(key);
  args.ignore("observer", "observer_kwargs", "actorder", "symmetric", "group_size", "scale_dtype", "zp_dtype");
  args.only("block_structure", [null], "weights in two-dimensional blocks have other scales");
  return args;
}

function readActivations(group: ConfigReader, codes: PackedScheme["codes"]): PackedScheme["activations"] {
  if (!group.has("input_activations")) return group.ignore("input_activations") && "float";
  const args = readArgs(group, "input_activations");
  const dynamic = args.raw("dynamic") === true;
  const strategy = args.choice("strategy", ["tensor", "token", "group", "channel"], "tensor");
  const same =
    args.integer("num_bits", 8) === 8 &&
    args.choice("type", ["int", "float"], "int") === (codes === "fp8" ? "float" : "int");
  if (!same || args.raw("symmetric") === false) return "other";
  if (dynamic) return strategy === "token" ? "token" : "other";
  return strategy === "tensor" ? "static" : "other";
}

function readCache(c: ConfigReader): PackedScheme["kvCache"] {
  if (!c.has("kv_cache_scheme")) return c.ignore("kv_cache_scheme") && null;
  const args = readArgs(c, "kv_cache_scheme");
  args.only("num_bits", [8], "keys and values are cached in 8 bits");
  args.only("strategy", ["tensor"], "a layer's cache has one scale");
  args.only("dynamic", [false], "a layer's cache has one stored scale");
  return args.choice("type", ["int", "float"], "int") === "float" ? "FP8" : "INT8";
}

function nothingIn(c: ConfigReader, key: string, why: string): void {
  const value = c.raw(key);
  if (value === undefined || value === null || JSON.stringify(value) === "{}") return;
  if ((value as { format?: unknown }).format === "dense") return;
  c.problem("SPC004", key, "is not empty", why, "convert a checkpoint without it, or the unquantized one");
}

import { defineOptions, type Values } from "../define.ts";
import { buildOptions } from "./build.ts";
import { convertOptions } from "./convert.ts";

// Nothing is read from a checkpoint or written, so build's options for files have no say here.
const { checkpoint_dir, output_dir, copy_weights, compute_dtype, plan, report, force, tp_size, pp_size, ...limits } =
  buildOptions;
const { revision, dtype, use_parallel_embedding, embedding_sharding_dim, use_embedding_sharing } = convertOptions;
const { vision_tower_dir, llm_dir } = convertOptions;
// Nothing is measured or read, so convert's options for where codes and ranges come from have no say either.
const { use_weight_only, weight_only_precision, per_group, group_size, quantize_lm_head } = convertOptions;
const { smoothquant, per_token, per_channel, int8_kv_cache, fp8_kv_cache, qformat, awq_block_size } = convertOptions;

/** Options of `convert` and `build` that shape engines, for a model whose weights need not be there. */
export const planOptions = defineOptions({
  dir: {
    type: "path",
    positional: true,
    group: "Model",
    placeholder: "DIR",
    hub: true,
    about:
      "A Hugging Face directory, of which config.json will do, a GGUF file, what mmtrt convert wrote, or org/name on the Hub, of which config.json is downloaded.",
  },
  revision: { ...revision, about: "Branch, tag or commit of a model of the Hub (main)." },
  model: {
    type: "string",
    group: "Model",
    placeholder: "NAME",
    about:
      "A published model instead of DIR, with the build recommended for it: llava-1.5-7b-hf, nougat-base, …; no weights are needed.",
  },
  images: {
    type: "string",
    list: true,
    group: "Model",
    placeholder: "WIDTHxHEIGHT",
    about:
      "Sizes of images, as 1280x720,640x480: what each brings in tiles, visual features and prompt tokens, max_multimodal_len for a batch of them, and which sizes fit. DIR may be an engine directory then.",
  },
  list: { type: "boolean", default: false, group: "Model", about: "List the models that --model knows." },
  vision_tower_dir,
  llm_dir,
  dtype: {
    ...dtype,
    about: "Element type of the converted weights. auto is the recommended one, or the checkpoint's own.",
  },
  tp_size: {
    ...tp_size,
    group: "Parallelism",
    about: "Tensor-parallel ranks: every matrix is split among this many GPUs. A converted checkpoint has a number.",
  },
  pp_size: {
    ...pp_size,
    group: "Parallelism",
    about: "Pipeline-parallel stages: layers are dealt out to groups of GPUs. A converted checkpoint has a number.",
  },
  use_parallel_embedding,
  embedding_sharding_dim,
  use_embedding_sharing,
  use_weight_only,
  weight_only_precision,
  per_group,
  group_size,
  quantize_lm_head,
  smoothquant,
  per_token,
  per_channel,
  int8_kv_cache,
  fp8_kv_cache,
  qformat,
  awq_block_size,
  ...limits,
  // Without build's old spelling of it, which is convert's option here.
  compute_dtype: { ...compute_dtype, aliases: [] },
});

export type PlanOptions = Values<typeof planOptions>;

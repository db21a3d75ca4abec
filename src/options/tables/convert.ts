import { defineOptions, type Values } from "../define.ts";

/** Flag names are TensorRT-LLM's convert_checkpoint.py's. */
export const convertOptions = defineOptions({
  model_dir: {
    type: "path",
    positional: true,
    group: "Model",
    placeholder: "MODEL_DIR",
    aliases: [{ name: "i" }, { name: "hf_model_dir" }],
    hub: true,
    about:
      "Hugging Face model directory (config.json and weights), a GGUF file, or a model of the Hub: org/name or org/name@revision, downloaded into the Hub's cache.",
  },
  revision: {
    type: "string",
    group: "Model",
    placeholder: "REV",
    about: "Branch, tag or commit of a model of the Hub (main). The commit is recorded in mmtrt.json.",
  },
  meta_ckpt_dir: {
    type: "path",
    group: "Model",
    placeholder: "DIR",
    about: "Meta's LLaMA checkpoint (consolidated.*.pth and params.json) instead of MODEL_DIR.",
  },
  vision_tower_dir: {
    type: "path",
    group: "Model",
    placeholder: "DIR",
    hub: true,
    about:
      "Hugging Face directory, or org/name on the Hub, of the CLIP or SigLIP that a checkpoint of LLaVA's own code names (mm_vision_tower).",
  },
  llm_dir: {
    type: "path",
    group: "Model",
    placeholder: "DIR",
    hub: true,
    about:
      "Hugging Face directory, or org/name on the Hub, of the language model (facebook/opt-2.7b) that takes the place of the one inside a BLIP-2 or LLaVA directory, with its tokenizer.",
  },
  output_dir: {
    type: "path",
    required: true,
    group: "Model",
    placeholder: "DIR",
    aliases: [{ name: "o" }, { name: "saved_dir" }],
    about: "Where the checkpoint goes. Must be new or empty; a killed run of the same options is resumed.",
  },
  dtype: {
    type: "string",
    enum: ["auto", "float16", "bfloat16", "float32"],
    synonyms: { fp16: "float16", half: "float16", bf16: "bfloat16", fp32: "float32", float: "float32" },
    default: "auto",
    group: "Model",
    aliases: [{ name: "data_type" }],
    about: "Element type of the written weights. auto keeps the checkpoint's own.",
  },
  weight_data_type: {
    type: "string",
    enum: ["float16", "bfloat16", "float32"],
    synonyms: { fp16: "float16", bf16: "bfloat16", fp32: "float32" },
    hidden: true,
    group: "Model",
    about: "Old flag of the encoder-decoder converter: dtype, where that is not given.",
    deprecated: "write --dtype; beside --dtype it says nothing, because weights are read as stored and cast once",
  },
  strict: {
    type: "boolean",
    default: false,
    group: "Model",
    about: "Refuse what is only warned about: NaN or infinite weights, missing tokenizer or processor files.",
  },
  hash: {
    type: "boolean",
    default: false,
    group: "Model",
    about:
      "Record the SHA-256 of every whole source file in mmtrt.json, not only that of samples; takes a second core.",
  },

  tp_size: {
    type: "integer",
    minimum: 1,
    maximum: 1024,
    default: 1,
    group: "Parallelism",
    aliases: [{ name: "inference_tensor_para_size" }, { name: "tensor_parallel_size" }],
    about: "Tensor-parallel ranks: every matrix is split among this many GPUs.",
  },
  pp_size: {
    type: "integer",
    minimum: 1,
    maximum: 1024,
    default: 1,
    group: "Parallelism",
    aliases: [{ name: "inference_pipeline_para_size" }, { name: "pipeline_parallel_size" }],
    about: "Pipeline-parallel stages: the layers are dealt out to this many groups of GPUs.",
  },
  workers: {
    type: "integer",
    minimum: 1,
    maximum: 256,
    default: 1,
    group: "Parallelism",
    aliases: [{ name: "processes" }],
    about:
      "Pipeline stages (and the vision tower) written at the same time; the tensor-parallel ranks of a stage always are, from one read. Memory stays at a few chunks each.",
  },
  use_parallel_embedding: {
    type: "boolean",
    default: false,
    group: "Parallelism",
    about: "Split the embedding table among the tensor-parallel ranks instead of copying it to each.",
  },
  embedding_sharding_dim: {
    type: "integer",
    minimum: 0,
    maximum: 1,
    default: 0,
    group: "Parallelism",
    about: "Axis along which the embedding table is split: 0 vocabulary, 1 hidden.",
  },
  use_embedding_sharing: {
    type: "boolean",
    default: false,
    group: "Parallelism",
    about:
      "Write the embedding table once when lm_head equals it; needs both split alike (tp_size 1, or use_parallel_embedding on axis 0).",
  },

  use_weight_only: {
    type: "boolean",
    default: false,
    group: "Quantization",
    about: "Store the weights of the linear layers as INT8 or INT4; activations stay in dtype.",
  },
  weight_only_precision: {
    type: "string",
    enum: ["int8", "int4", "int4_gptq", "int4_awq"],
    default: "int8",
    group: "Quantization",
    about: "Codes of use_weight_only: int8 and int4 are made here, int4_gptq and int4_awq come from such a checkpoint.",
  },
  per_group: {
    type: "boolean",
    default: false,
    group: "Quantization",
    about: "INT4: a scale for each group of group_size inputs instead of one for each output; closer to the original.",
  },
  group_size: {
    type: "integer",
    minimum: 1,
    maximum: 1_048_576,
    group: "Quantization",
    about: "Inputs in a group of INT4 weights: 32, 64 or 128 (128 when only per_group is given). Implies per_group.",
  },
  quantize_lm_head: {
    type: "boolean",
    default: false,
    group: "Quantization",
    about:
      "Weight-only: lm_head becomes codes too. It is read whole for every token: as INT4, a model of 1.1 B answers a fifth faster. TensorRT-LLM keeps it in dtype.",
  },
  weight_layout: {
    type: "string",
    enum: ["plain", "sm70", "sm80", "sm90"],
    default: "plain",
    group: "Quantization",
    about:
      "Byte order of quantized weights: plain, which mmtrt build reads, or that of TensorRT-LLM's kernels on a GPU generation (sm80 is for 7.5 to 8.9).",
  },
  disable_weight_only_quant_plugin: {
    type: "boolean",
    default: false,
    group: "Quantization",
    about: "Weight-only INT8: keep float weights beside the scales and let the engine quantize them.",
  },
  smoothquant: {
    type: "number",
    minimum: 0,
    maximum: 1,
    group: "Quantization",
    placeholder: "ALPHA",
    aliases: [{ name: "sq" }],
    about:
      "INT8 weights and activations. ALPHA moves the difficulty from activations (1) to weights (0); usual is 0.5.",
  },
  per_token: {
    type: "boolean",
    default: false,
    group: "Quantization",
    about: "SmoothQuant: scale each token's activations by their own largest value, at run time.",
  },
  per_channel: {
    type: "boolean",
    default: false,
    group: "Quantization",
    about: "SmoothQuant: a weight scale for each output instead of one for the matrix.",
  },
  int8_kv_cache: {
    type: "boolean",
    default: false,
    group: "Quantization",
    about: "Keys and values are cached as INT8, with one calibrated scale a layer.",
  },
  fp8_kv_cache: {
    type: "boolean",
    default: false,
    group: "Quantization",
    about: "Keys and values are cached as FP8 (E4M3).",
  },
  qformat: {
    type: "string",
    enum: ["full_prec", "int8_wo", "int4_wo", "int4_awq", "int8_sq", "fp8"],
    group: "Quantization",
    about: "The format under the name that TensorRT-LLM's quantize.py has for it.",
  },
  awq_block_size: {
    type: "integer",
    minimum: 1,
    maximum: 1_048_576,
    default: 128,
    group: "Quantization",
    about: "Inputs that share a scale in qformat int4_awq.",
  },
  calib_dataset: {
    type: "path",
    group: "Quantization",
    placeholder: "FILE",
    about: "Texts that activations are measured on (JSONL or one a line); without it those of the package.",
  },
  calib_size: {
    type: "integer",
    minimum: 1,
    maximum: 1_048_576,
    group: "Quantization",
    about: "Samples of calib_dataset that are used.",
  },
  act_ranges: {
    type: "path",
    group: "Quantization",
    placeholder: "FILE",
    about: "Ranges of activations measured before (safetensors), instead of a calibration.",
  },
  quant_ckpt_path: {
    type: "path",
    group: "Quantization",
    placeholder: "FILE",
    aliases: [{ name: "modelopt_quant_ckpt_path" }, { name: "ammo_quant_ckpt_path" }],
    about: "File with the codes of weight_only_precision int4_gptq or int4_awq, where MODEL_DIR does not hold them.",
  },

  load_model_on_cpu: {
    type: "boolean",
    default: false,
    hidden: true,
    about: "Old flag of convert_checkpoint.py.",
    ignored: "conversion streams on the CPU and never uses a GPU",
  },
  load_by_shard: {
    type: "boolean",
    default: false,
    hidden: true,
    about: "Old flag of convert_checkpoint.py.",
    ignored: "weights are always streamed",
  },
  max_multimodal_len: {
    type: "integer",
    minimum: 0,
    hidden: true,
    aliases: [{ name: "max_prompt_embedding_table_size" }],
    about: "Old flag of the encoder-decoder converter.",
    ignored: "the prompt table gets its rows from build --max_multimodal_len",
  },
  log_level: {
    type: "string",
    hidden: true,
    about: "Old flag of convert_checkpoint.py.",
    ignored: "--quiet, --json and --debug say what is printed",
  },
  model_type: {
    type: "string",
    hidden: true,
    about: "Old flag of the encoder-decoder converter.",
    ignored: "the architecture is read from config.json",
  },
  nougat: {
    type: "boolean",
    default: false,
    hidden: true,
    about: "Old flag of the encoder-decoder converter.",
    ignored: "the architecture is read from config.json",
  },
});

export type ConvertOptions = Values<typeof convertOptions>;

import { defineOptions, type Values } from "../define.ts";

/** Flag names are TensorRT-LLM's convert_checkpoint.py's. */
export const convertOptions = defineOptions({
  model_dir: {
    type: "path",
    positional: true,
    group: "Model",
    placeholder: "MODEL_DIR",
    aliases: [{ name: "i" }, { name: "hf_model_dir" }],
    about: "Hugging Face model directory (config.json and weights), or a GGUF file.",
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
    about:
      "Hugging Face directory of the CLIP or SigLIP that a checkpoint of LLaVA's own code names (mm_vision_tower).",
  },
  llm_dir: {
    type: "path",
    group: "Model",
    placeholder: "DIR",
    about:
      "Hugging Face directory of the language model (facebook/opt-2.7b) that takes the place of the one inside a BLIP-2 or LLaVA directory, with its tokenizer.",
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

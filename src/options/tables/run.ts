import { defineOptions, type Values } from "../define.ts";

/** Flag names are those of TensorRT-LLM's examples/multimodal/run.py. */
export const runOptions = defineOptions({
  engine_dir: {
    type: "path",
    required: true,
    group: "Request",
    placeholder: "DIR",
    aliases: [{ name: "llm_engine_dir" }],
    about: "What mmtrt build wrote.",
  },
  visual_engine_dir: {
    type: "path",
    hidden: true,
    group: "Request",
    placeholder: "DIR",
    about: "Old flag of TensorRT-LLM's run.py: the visual part of engine_dir, and no other.",
    deprecated: "one engine directory holds both parts: write --engine_dir alone",
  },
  image: {
    type: "path",
    list: true,
    commas: false,
    group: "Request",
    placeholder: "FILE",
    aliases: [{ name: "image_path" }],
    about:
      "Images, one per prompt; a single one serves every prompt. Prompts that hold image placeholders take as many as they have, in order. VILA sees all images of a single prompt together.",
  },
  path_sep: {
    type: "string",
    hidden: true,
    group: "Request",
    about:
      "Old flag of TensorRT-LLM's run.py: what stands between the files of one --image, which are then pictures of one prompt. Without it: a comma in --image_path, unless there is a file of the whole name.",
    deprecated: "write --image once for each picture, and the image placeholder as often in --input_text",
  },
  input_text: {
    type: "string",
    list: true,
    commas: false,
    group: "Request",
    about: "Prompts, one per batch item; a single one serves every image.",
  },
  input_ids: {
    type: "path",
    group: "Request",
    placeholder: "FILE",
    about: "JSON file with token ids, one array per batch item, instead of input_text; for models without a tokenizer.",
  },
  pixel_values: {
    type: "path",
    group: "Request",
    placeholder: "FILE",
    about:
      "safetensors file with preprocessed pixel_values [images, 3, height, width], instead of image; for models without an image processor.",
  },
  input_file: {
    type: "path",
    group: "Request",
    placeholder: "FILE",
    about:
      'JSON Lines file of requests that are answered in order, in one process: {"input_text": "…", "image": "a.png"}, or input_ids as a list, on each line. Images are looked up beside the file.',
  },
  prompt_format: {
    type: "string",
    enum: ["auto", "chat", "raw"],
    default: "auto",
    group: "Request",
    about:
      "auto takes the tokenizer's chat template, else the family's prompt; raw gives input_text to the tokenizer as it is.",
  },
  batch_size: {
    type: "integer",
    minimum: 1,
    maximum: 65536,
    group: "Request",
    about:
      "Items run at once: a single request is repeated this many times, several are run in batches of this size. Without it: all at once (with check_accuracy: as many as the engine takes; with input_file: one after another).",
  },
  enable_kv_cache_reuse: {
    type: "boolean",
    default: false,
    group: "KV cache",
    aliases: [{ name: "kv_cache_enable_block_reuse" }],
    about:
      "Keep the keys and values of prompts, block by block, for later prompts that begin alike (the same words, the same pictures). Takes an engine built with use_paged_context_fmha.",
  },
  kv_cache_reuse_size: {
    type: "size",
    default: "1GiB",
    group: "KV cache",
    about: "Memory for what enable_kv_cache_reuse keeps; the blocks used longest ago give way.",
  },

  lora_task_uids: {
    type: "integer",
    list: true,
    minimum: -1,
    maximum: 4095,
    group: "Request",
    about:
      "Adapter of each batch item: 0 is the first of lora_dir (or of those built in), −1 is none. A single one serves every item, and a single prompt is asked of each one given; without it no item has an adapter.",
  },
  lora_dir: {
    type: "path",
    list: true,
    commas: false,
    group: "Request",
    placeholder: "DIR",
    about:
      "LoRA adapters in place of those in the engine directory, without a build: any that fit its lora_target_modules, max_lora_rank and max_loras.",
  },

  max_new_tokens: {
    type: "integer",
    minimum: 1,
    maximum: 1 << 24,
    default: 30,
    group: "Generation",
    about:
      "Most tokens to answer with. Not given, it is what the engine has room for after the prompt where that is fewer.",
  },
  min_new_tokens: {
    type: "integer",
    minimum: 0,
    maximum: 1 << 24,
    default: 0,
    group: "Generation",
    about: "End tokens cannot come before this many.",
  },
  num_beams: {
    type: "integer",
    minimum: 1,
    maximum: 256,
    default: 1,
    group: "Generation",
    about: "Beams of a beam search; 1 is greedy or sampling.",
  },
  top_k: {
    type: "integer",
    minimum: 0,
    maximum: 1 << 24,
    default: 1,
    group: "Generation",
    about: "Sample from the k likeliest tokens; 1 is greedy, 0 is all.",
  },
  top_p: {
    type: "number",
    minimum: 0,
    maximum: 1,
    default: 0,
    group: "Generation",
    about: "Sample from the smallest set of tokens whose probability reaches p; 0 and 1 do not limit.",
  },
  temperature: {
    type: "number",
    exclusiveMinimum: 0,
    maximum: 1000,
    default: 1,
    group: "Generation",
    about: "Divides the logits: below 1 sharper, above 1 flatter.",
  },
  repetition_penalty: {
    type: "number",
    exclusiveMinimum: 0,
    maximum: 1000,
    default: 1,
    group: "Generation",
    about: "Above 1 makes tokens that occurred before less likely.",
  },
  no_repeat_ngram_size: {
    type: "integer",
    minimum: 0,
    maximum: 1 << 24,
    default: 0,
    group: "Generation",
    about:
      "No run of this many tokens comes twice in an answer (nor repeats the prompt of a decoder); 0 does not limit.",
  },
  length_penalty: {
    type: "number",
    minimum: -100,
    maximum: 100,
    default: 1,
    group: "Generation",
    about: "Beam scores are divided by length to this power: above 0 favours longer answers.",
  },
  early_stopping: {
    type: "boolean",
    default: false,
    group: "Generation",
    about: "End a beam search once num_beams answers are finished, instead of when no better one can come.",
  },
  seed: {
    type: "integer",
    minimum: 0,
    default: 0,
    group: "Generation",
    aliases: [{ name: "random_seed" }],
    about: "Seed of the sampling: the same seed and request give the same answer.",
  },
  stop: {
    type: "string",
    list: true,
    commas: false,
    group: "Generation",
    about: "Texts that end an answer; they are not part of it.",
  },
  stream: {
    type: "boolean",
    default: true,
    group: "Generation",
    about: "Print the text while it is generated, where a single answer is.",
  },

  run_profiling: {
    type: "boolean",
    default: false,
    group: "Checks",
    about: "Time visual, prefill and decode steps and print percentiles and tokens per second.",
  },
  profiling_iterations: {
    type: "integer",
    minimum: 1,
    maximum: 100000,
    default: 20,
    group: "Checks",
    about: "Timed repetitions after one warm-up.",
  },
  compare: {
    type: "path",
    group: "Checks",
    placeholder: "FILE",
    about:
      "Profile, and compare with what an earlier run of the same request printed with run_profiling and --json: show what has changed, and exit with 4 where something has grown by more than compare_tolerance.",
  },
  compare_tolerance: {
    type: "number",
    minimum: 0,
    maximum: 1000,
    default: 0.1,
    group: "Checks",
    about: "Share that a time or an amount of memory may grow by: 0.1 is a tenth.",
  },
  check_accuracy: {
    type: "path",
    group: "Checks",
    placeholder: "FILE",
    about: "JSON Lines file of image, question and expected answer: run all and report how many are right.",
  },
  accuracy_threshold: {
    type: "number",
    minimum: 0,
    maximum: 1,
    group: "Checks",
    about: "Share of right answers below which check_accuracy exits with 4.",
  },
  device: {
    type: "string",
    enum: ["cpu", "cuda"],
    default: "cpu",
    group: "Device",
    about:
      "Where the engines run. cpu: the graphs in ONNX Runtime within this process. cuda: on a GPU, in the native runner that mmtrt plugins build compiles.",
  },
  device_index: {
    type: "integer",
    minimum: 0,
    maximum: 1023,
    default: 0,
    group: "Device",
    about: "Which GPU, counted as CUDA shows them.",
  },
  runner: {
    type: "path",
    group: "Device",
    placeholder: "FILE",
    about:
      "The native runner. Without it: .mmtrt/plugins/mmtrt-runner for device cuda, and none for cpu; given, it runs the CPU's work as well.",
  },
  runtime: {
    type: "string",
    enum: ["auto", "onnxruntime", "tensorrt"],
    default: "auto",
    group: "Device",
    about:
      "What the runner gives the work to. auto: TensorRT where the directory has its engines, else ONNX Runtime, which runs the graph of any of them.",
  },
  runtime_library: {
    type: "path",
    group: "Device",
    placeholder: "FILE",
    about:
      "libonnxruntime (with the CUDA provider beside it, for a GPU), libnvinfer or libtensorrt_rtx for the runner. Without it: what the system's loader finds, and for the CPU the onnxruntime-node package's.",
  },
  plugins: {
    type: "path",
    group: "Device",
    placeholder: "FILE",
    about: "libmmtrt_plugins.so for the runner on a GPU. Without it: the one that the engines were built with, if any.",
  },
  cuda_graph: {
    type: "boolean",
    default: false,
    group: "Device",
    about:
      "Record decode steps once and replay them, in ONNX Runtime on a GPU: takes a static or paged cache, and every operation of the graph on the GPU.",
  },
  threads: {
    type: "integer",
    minimum: 0,
    maximum: 1024,
    default: 0,
    group: "Checks",
    about: "Threads of ONNX Runtime per session; 0 lets it choose.",
  },

  hf_model_dir: {
    type: "path",
    hidden: true,
    about: "Old flag of TensorRT-LLM's run.py.",
    ignored: "tokenizer and image processor are in the engine directory",
  },
  decoder_llm: {
    type: "boolean",
    default: false,
    hidden: true,
    about: "Old flag of TensorRT-LLM's run.py.",
    ignored: "the engine directory says whether its language model has an encoder",
  },
  enable_chunked_context: {
    type: "boolean",
    default: false,
    hidden: true,
    about: "Old flag of TensorRT-LLM's run.py.",
    ignored:
      "an engine built with --use_paged_context_fmha runs prompts longer than --max_num_tokens in pieces by itself",
  },
  kv_cache_free_gpu_memory_fraction: {
    type: "number",
    hidden: true,
    about: "Old flag of TensorRT-LLM's run.py.",
    ignored:
      "ONNX Runtime's caches grow with their sequences; --kv_cache_reuse_size limits what is kept between requests",
  },
  log_level: {
    type: "string",
    hidden: true,
    about: "Old flag of TensorRT-LLM's run.py.",
    ignored: "--quiet, --json and --debug say what is printed",
  },
});

export type RunOptions = Values<typeof runOptions>;

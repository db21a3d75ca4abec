import type { OptionTable } from "./define.ts";

/** What can be said of a command without its code: help, docs and the checks of a command line need no more than this. */
export interface CommandInfo {
  /** The line in `mmtrt --help`. */
  readonly about: string;
  /** Command lines without the leading `mmtrt`. */
  readonly examples: readonly string[];
  /** What the words after `--` are handed to (`trtexec`); without it such words are an error. */
  readonly passthrough?: string;
  /** The options, loaded when somebody asks. */
  table(): Promise<OptionTable>;
}

/** Every command with options of its own, in the order of `mmtrt --help`. */
export const COMMANDS = {
  demo: {
    about: "The whole job on the small trained LLaVA that ships with mmtrt: an image in, a caption out.",
    examples: ["demo"],
    table: async () => (await import("./tables/demo.ts")).demoOptions,
  },
  convert: {
    about: "Turn a Hugging Face model directory into a checkpoint with one file per rank.",
    examples: [
      "convert llava-1.5-7b-hf --output_dir checkpoint",
      "convert llava-hf/llava-1.5-7b-hf --revision main --output_dir checkpoint",
      "convert llava-1.5-7b-hf --output_dir checkpoint --dtype float16 --tp_size 2 --workers 2",
      "convert --meta_ckpt_dir llama-2-7b --output_dir checkpoint",
    ],
    table: async () => (await import("./tables/convert.ts")).convertOptions,
  },
  quantize: {
    about:
      "Compare a quantized checkpoint with its model, layer by layer and by answers, or choose the smallest format that keeps them.",
    examples: [
      "quantize llava-1.5-7b-hf --checkpoint_dir checkpoint --report quantization.html",
      "quantize llava-1.5-7b-hf --output_dir checkpoint --format int4_g128 --check_accuracy questions.jsonl",
      "quantize llava-1.5-7b-hf --output_dir checkpoint --auto 0.97 --check_accuracy questions.jsonl --report quantization.html",
      "quantize llava-1.5-7b-hf --output_dir checkpoint --max_loss 0.5 --format int4_g128 int4_awq int8 --check_accuracy questions.jsonl",
    ],
    table: async () => (await import("./tables/quantize.ts")).quantizeOptions,
  },
  build: {
    about: "Build engines from a checkpoint.",
    examples: [
      "build --checkpoint_dir checkpoint --output_dir engines",
      "build --checkpoint_dir checkpoint --output_dir engines --max_batch_size 8 --max_input_len 2048 --max_seq_len 2560",
      "build --checkpoint_dir checkpoint --output_dir engines --max_batch_size 8 --plan --gpu A10",
      "build --checkpoint_dir checkpoint --output_dir engines --backend tensorrt_rtx --compute_capabilities 8.6 12.0",
      "build --checkpoint_dir checkpoint --output_dir engines --backend tensorrt --timing_cache t.cache -- --noTF32",
    ],
    passthrough: "trtexec",
    table: async () => (await import("./tables/build.ts")).buildOptions,
  },
  plan: {
    about: "Show engines, profiles and memory of a model before it is downloaded, converted or built.",
    examples: [
      "plan --model llava-1.5-7b-hf",
      "plan --model llama-2-70b --tp_size 8 --max_batch_size 16 --gpu H100",
      "plan llava-1.5-7b-hf --max_batch_size 4 --max_input_len 1024",
      "plan --list",
    ],
    table: async () => (await import("./tables/plan.ts")).planOptions,
  },
  run: {
    about: "Answer questions about images, or continue a text, with built engines.",
    examples: [
      'run --engine_dir engines --image merlion.png --input_text "which city is this?"',
      "run --engine_dir engines --image a.png --image b.png --input_text 'What is shown?' --max_new_tokens 64 --json",
      'run --engine_dir engines --image a.png --input_text "What is shown?" --run_profiling --batch_size 8',
      "run --engine_dir engines --check_accuracy questions.jsonl --accuracy_threshold 0.97",
    ],
    table: async () => (await import("./tables/run.ts")).runOptions,
  },
  verify: {
    about:
      "Compare engines stage by stage with a reference, or the ranks of a split model with the model in one piece, and name the first stage that differs.",
    examples: [
      "verify --engine_dir engines --reference reference.safetensors",
      "verify --engine_dir tp2_engines --ranks --unsharded engines",
    ],
    table: async () => (await import("./tables/verify.ts")).verifyOptions,
  },
  eval: {
    about:
      "How well an engine reads texts (perplexity), and from how far back it remembers a number (passkey): to compare quantized engines with the float one, and to try long contexts.",
    examples: [
      "eval --engine_dir engines",
      "eval perplexity --engine_dir engines --texts held-out.txt --size 100 --json",
      "eval passkey --engine_dir engines --context_len 1024,4096,16384 --samples 2",
      "eval passkey --engine_dir engines --context_len 8192 --depths 0,50,100 --min_accuracy 1",
    ],
    table: async () => (await import("./tables/eval.ts")).evalOptions,
  },
  inspect: {
    about: "Show what a model directory, checkpoint, ONNX file or engine directory holds.",
    examples: [
      "inspect llava-1.5-7b-hf",
      "inspect engines/llm/rank0.onnx",
      "inspect model.safetensors --tensors",
      "inspect engines --batch_size 8 --input_len 700 --images 1 --max_new_tokens 64",
    ],
    table: async () => (await import("./tables/inspect.ts")).inspectOptions,
  },
  explain: {
    about: "Explain an error code, or the errors in a log of TensorRT or trtexec: cause and cure.",
    examples: ["explain CFG001", "explain trtexec.log --engine_dir engines"],
    table: async () => (await import("./tables/explain.ts")).explainOptions,
  },
  doctor: {
    about: "Check what this machine has and what each part is for.",
    examples: ["doctor", "doctor --python .venv/bin/python --json"],
    table: async () => (await import("./tables/doctor.ts")).doctorOptions,
  },
  matrix: {
    about: "Build many engine directories from one file: models × precisions × targets × any option, each step once.",
    examples: [
      "matrix matrix.yaml",
      "matrix matrix.yaml --workers 4 --keep_going --junit report.xml --html report.html",
      "matrix matrix.yaml --only 'llava-*' target=ampere --explain",
      "matrix matrix.yaml --shard 2/4 --cache_dir /shared/mmtrt",
      "matrix matrix.yaml --emit slurm --jobs 8",
      "matrix matrix.yaml --frozen",
      "matrix matrix.yaml --changed_since origin/main --plan",
    ],
    table: async () => (await import("./tables/matrix.ts")).matrixOptions,
  },
  cache: {
    about: "List, clear or check the results of steps that mmtrt matrix keeps.",
    examples: ["cache ls", "cache gc --max_size 50 --max_age 30", "cache verify --repair"],
    table: async () => (await import("./tables/cache.ts")).cacheOptions,
  },
  diff: {
    about: "Say how two engine directories, or two converted checkpoints, differ.",
    examples: ["diff engines/llava-float16 engines/llava-int8_wo", "diff before after --exit_code --json"],
    table: async () => (await import("./tables/diff.ts")).diffOptions,
  },
  lora: {
    about: "Merge a LoRA adapter into its base model, or show what an adapter changes.",
    examples: ["lora merge llama-2-7b my-adapter --output_dir merged", "lora inspect my-adapter"],
    table: async () => (await import("./tables/lora.ts")).loraCommandOptions,
  },
  plugins: {
    about: "Compile mmtrt's CUDA kernels into a library of TensorRT plugins and ONNX Runtime custom ops.",
    examples: [
      "plugins build --tensorrt_root /usr/local/tensorrt --sm 90",
      "plugins build --sm 80,86,89,90,120 --onnxruntime_root onnxruntime --output_dir plugins",
      "plugins list",
      "plugins new RotaryEmbedding --plugin_sources native-plugins",
    ],
    table: async () => (await import("./tables/plugins.ts")).pluginsOptions,
  },
  synth: {
    about: "Write a Hugging Face checkpoint of any size with seeded random weights, to try shapes offline.",
    examples: [
      "synth llama-1.1b --preset llama-1.1b",
      "synth small-vila --preset vila1.5-3b --layers 2 --shrink 16",
      "synth wide --architecture LlamaForCausalLM --hidden_size 8192 --num_hidden_layers 2 --dtype bfloat16",
    ],
    table: async () => (await import("./tables/synth.ts")).synthOptions,
  },
  init: {
    about: "Start a project: mmtrt.yaml for one model, matrix.yaml for many engines, and a file for CI.",
    examples: ["init", "init vlm --model blip2-opt-2.7b --ci gitlab", "init . --model my-org/my-llava --ci none"],
    table: async () => (await import("./tables/init.ts")).initOptions,
  },
  completion: {
    about: "Print a script that makes a shell complete commands, flags and their values.",
    examples: [
      "completion bash > ~/.local/share/bash-completion/completions/mmtrt",
      "completion zsh > ~/.zfunc/_mmtrt",
      "completion fish > ~/.config/fish/completions/mmtrt.fish",
    ],
    table: async () => (await import("./tables/completion.ts")).completionOptions,
  },
} as const satisfies Record<string, CommandInfo>;

export type CommandName = keyof typeof COMMANDS;

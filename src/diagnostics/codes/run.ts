import type { CodeInfo } from "../code-info.ts";

export const RUN = {
  RUN001: {
    title: "an image file cannot be decoded",
    about:
      "The file is missing, cut short, or not an image. PNG, JPEG, WebP, GIF, TIFF, AVIF and SVG-free bitmaps are read. Open it in a viewer to check it, or save it again.",
  },
  RUN002: {
    title: "an image is too large, or too long",
    about:
      "Pictures above 178,956,970 pixels (the size Pillow, and with it Hugging Face's processors, refuses) are not decoded: a small file can claim any size and fill the memory. Scale the picture down. Processors of packed patches (Qwen VL) refuse pictures whose one side is more than 200 times the other: cut those.",
  },
  RUN003: {
    title: "the image processor's configuration cannot be used",
    about:
      "A key of preprocessor_config.json or processor_config.json is missing, of the wrong type, out of range, or unknown. Preprocessing decides what the vision encoder sees, so nothing is guessed.",
  },
  RUN004: {
    title: "the image processor is of a kind that is not supported",
    about:
      "image_processor_type names a preprocessing that this version does not implement. Pixels can be prepared elsewhere and given as a safetensors file.",
  },
  RUN005: {
    title: "the model has no tokenizer that text could go through",
    about:
      "The engine directory's tokenizer/ lacks tokenizer.json. Give token ids with --input_ids, or save the tokenizer with transformers (which writes tokenizer.json for SentencePiece models too), convert and build again.",
  },
  RUN006: {
    title: "a tokenizer.json cannot be used",
    about:
      "The file is JSON, but describes a tokenizer with parts that this version does not know, or lacks parts. Save it again with a current transformers, or give token ids with --input_ids.",
  },
  RUN007: {
    title: "a chat template cannot be used",
    about:
      "The Jinja template that the model brings does not parse, or raised an error for a single user turn. Give the whole prompt in --input_text with --prompt_format raw.",
  },
  RUN008: {
    title: "an engine directory lacks a part that the request needs",
    about: "The directory was built with --only visual or --only llm. Build it whole to run requests.",
  },
  RUN010: {
    title: "a request does not fit the engine's profiles",
    about:
      "An input has a size outside the minimum and maximum that the engine was built for; TensorRT says then that the dimension does not satisfy any optimization profile. Raise the limit named in the message when building, or ask for less at once.",
  },
  RUN011: {
    title: "ONNX Runtime cannot load or run a graph of the engine",
    about:
      "A file of the engine directory is missing or damaged, or ONNX Runtime failed while running. Build the engine again; if that does not help, please report it with the message.",
  },
  RUN012: {
    title: "images and prompts do not fit each other",
    about:
      "Each prompt has as many image placeholders as it has images, and either one prompt, one image, or as many of both are given.",
  },
  RUN013: {
    title: "a token id is outside the vocabulary",
    about:
      "Ids from --input_ids or from the tokenizer must be rows of the model's embedding table; the ids above it are rows of the prompt table and are made by mmtrt.",
  },
  RUN014: {
    title: "a file of token ids, questions or requests is not usable",
    about:
      "--input_ids takes a JSON list of lists of whole numbers; --check_accuracy takes one JSON object with image, question and expected on each line, --input_file one with input_text or input_ids, and image.",
  },
  RUN015: {
    title: "the model takes no images",
    about:
      "The engine was built from a language model alone, so there is no vision encoder that could look at a picture.",
  },
  RUN016: {
    title: "a request has nothing to answer",
    about: "Give --input_text or --input_ids, and for a multimodal model usually --image too.",
  },
  RUN017: {
    title: "the model came without an image processor",
    about:
      "Neither preprocessor_config.json nor processor_config.json is in the engine's tokenizer/ directory. Copy them from the Hugging Face checkpoint, or give preprocessed pixels with --pixel_values.",
  },
  RUN018: {
    title: "a file of pixel values is not usable",
    about: "--pixel_values takes a safetensors file with a float32 tensor pixel_values of [images, 3, height, width].",
  },
  RUN019: {
    title: "bfloat16 engines run in TensorRT only",
    about:
      "An engine directory of a TensorRT backend also holds the graph that the engine was made of, which mmtrt runs in ONNX Runtime to check it on any machine. ONNX Runtime's CPU kernels lack bfloat16, so this works for float16 and float32.",
    exit: 3,
  },
  RUN020: {
    title: "a request is checked against engines only",
    about:
      "`mmtrt inspect` with --batch_size, --input_len, --images, --max_new_tokens or --num_beams asks an engine directory whether its profiles take the request; other files have no profiles.",
    exit: 2,
  },
  RUN021: {
    title: "a page is too long and narrow to read",
    about:
      "Nougat's processor shrinks a page until it fits into the encoder's picture. A strip many times longer than wide would be shrunk to a few pixels of width. Give a picture of one page.",
  },
  RUN022: {
    title: "the model takes no prompt",
    about:
      "Nougat writes down what it sees on a page: its decoder starts with one fixed token, and there is no encoder for text.",
    exit: 2,
  },
  RUN031: {
    title: "eval is for decoder-only models",
    about:
      "eval perplexity feeds a text token by token and asks how likely each was, and eval passkey how far back a token is remembered. An encoder-decoder answers a prompt with another text; compare such engines with run --check_accuracy.",
  },
  RUN032: {
    title: "an engine cannot continue behind a known beginning",
    about:
      "--enable_kv_cache_reuse keeps the keys and values of prompts and runs a later prompt from where it differs. The engine's context profile has to take a cache that is not empty, which --use_paged_context_fmha gives it; prompts of encoder-decoders go through an encoder and have none, and those of PaliGemma depend on what comes after.",
  },
  RUN033: {
    title: "the budget for reused keys and values holds no block",
    about:
      "--kv_cache_reuse_size is shared by blocks of tokens_per_block tokens over all layers, and for models that see, visual features. Give room for at least one block; a useful cache holds whole prompts.",
  },
  RUN034: {
    title: "a context length is too short for the pass key test",
    about:
      "eval passkey hides a number in filler text. The lines that explain it, the number and the answer take about a hundred tokens before there is any filler; a length below that is no test.",
  },
  RUN030: {
    title: "the visual engine is of another engine directory",
    about:
      "TensorRT-LLM's run.py takes --visual_engine_dir and --llm_engine_dir; mmtrt keeps both parts in one engine directory E (E/visual and E/llm), and takes these two paths as well as E itself. Parts that were built apart may disagree in width, tokens and limits.",
    exit: 2,
  },
  RUN040: {
    title: "there are not as many processes as ranks",
    about:
      "`mpirun -n N mmtrt run` (or srun) starts N processes, one for each rank of the engine. With the onnxruntime backend the first of them runs all ranks of the language model and the others encode their share of the images; no launcher is needed for it.",
  },
  RUN041: {
    title: "the processes of a launcher do not find one another",
    about:
      "Under `mpirun -n N mmtrt run` the processes share the images of a request over a socket of this machine, in a directory that only its user may open, named after the launch. All have to run on one machine, with the same engine directory and the same TMPDIR, and each has to come within a minute.",
    exit: 3,
  },
  RUN042: {
    title: "another process of the launcher has ended",
    about:
      "The processes of `mpirun -n N mmtrt run` share the images of a request. When one ends before its work is done (killed for memory, or from outside) the first says so and ends with a problem instead of waiting; when the first has ended, so do the others.",
    exit: 3,
  },
  RUN043: {
    title: "the processes of a launcher do not understand each other",
    about:
      "What the processes of `mpirun -n N mmtrt run` exchange has announced sizes, bounded by the visual engine's. A message that is none, or out of place, ends both sides. All processes have to be of one version of mmtrt.",
  },
  RUN050: {
    title: "mmtrt and its runner do not understand each other",
    about:
      "The native runner and mmtrt exchange frames of announced sizes over standard input and output. A frame that is none, or a message that is out of place, ends the runner with exit code 1. Both sides have to be of one version: `mmtrt plugins build` compiles the runner that belongs to the installed mmtrt.",
  },
  RUN051: {
    title: "the runner has ended",
    about:
      "The native runner is a process of its own. When it ends before it has answered (killed for memory, crashed in a library or a kernel) mmtrt says how it ended and its last line, and ends with a problem instead of waiting.",
    exit: 3,
  },
  RUN052: {
    title: "a library that the runner needs cannot be loaded",
    about:
      "The runner links none of CUDA, ONNX Runtime and TensorRT and loads them when it starts: libonnxruntime of the onnxruntime-node package or of --runtime_library, its CUDA provider, libcudart, libnvinfer, and the plugin library. The system's loader must find them and what they need.",
    exit: 3,
  },
  RUN053: {
    title: "the runner cannot open an engine",
    about:
      "ONNX Runtime or TensorRT refused a file of the engine directory: it is damaged, of another version, for another GPU, or has an operator that the library lacks.",
  },
  RUN054: {
    title: "the device has no memory left",
    about:
      "Weights, keys and values, and what a step computes lie in the device's memory together. The problem says how much was asked for, for what, how much is free, and which option lowers it.",
    exit: 3,
  },
  RUN055: {
    title: "there is no runner",
    about:
      "--device cuda, and --runner, run the engines in mmtrt's native runner, which `mmtrt plugins build` compiles for this machine: with nvcc for GPUs, with g++ alone for the CPU.",
    exit: 3,
  },
  RUN056: {
    title: "the runner does not do this",
    about:
      "What the in-process session of ONNX Runtime does and the native runner does not, or what this runner was compiled without.",
    exit: 2,
  },
  RUN057: {
    title: "the engine does not fit its directory or the machine",
    about:
      "The runner compares what it opened with what config.json and mmtrt.json say (inputs and outputs, the ONNX file's hash, the plugin library's ABI), and asks for the GPU that was named.",
  },
  RUN058: {
    title: "a call of the device failed",
    about: "ONNX Runtime, TensorRT or CUDA reported an error while a request ran; the problem has its words.",
    exit: 3,
  },
  RUN059: {
    title: "a rank has ended, or the ranks do not meet",
    about:
      "In the native runner each rank is a process of its own, with a GPU of its own or a share of the CPU's cores. They compute every layer together, so when one ends early, cannot be started, or NCCL does not connect them, all end at once, and the problem says which rank it was and how it ended.",
    exit: 3,
  },
  RUN060: {
    title: "there is no profile to compare with",
    about:
      "run --run_profiling --compare takes what an earlier run of the same request printed with --json. Another batch size, number of beams, prompt length or answer length is another request, whose times say nothing about this one.",
  },
} as const satisfies Record<string, CodeInfo>;

import type { CodeInfo } from "../code-info.ts";

export const BLD = {
  BLD001: {
    title: "the output directory is not empty",
    about:
      "A build writes a whole directory and replaces nothing it did not make. Give another --output_dir; --force replaces an earlier engine directory of mmtrt, and never anything else.",
  },
  BLD002: {
    title: "not an engine directory",
    about:
      "An engine directory has mmtrt.json beside llm/ (and visual/ for a model that takes images). `mmtrt build` writes it whole or not at all, so a missing file means that files were moved or deleted afterwards.",
  },
  BLD003: {
    title: "a file of the engine directory has another form than this version writes",
    about:
      "config.json and mmtrt.json hold the shapes and limits a run is checked against; they are not repaired by guessing. Build the directory again with this version.",
  },
  BLD005: {
    title: "the checkpoint changed while it was built",
    about:
      "A plan states the hash of every graph; a graph that comes out differently was made from other weights or another config. Run the build again.",
  },
  BLD006: {
    title: "a file of the engine directory is not the one that was built",
    about:
      "mmtrt.json has the SHA-256 of every graph and the size of every engine. A graph that was edited or copied from another build no longer fits the limits and profiles beside it.",
  },
  BLD007: {
    title: "an optimization profile is not self-consistent",
    about:
      "In every profile min ≤ opt ≤ max must hold for each size, and sizes that depend on each other must agree at all three points. TensorRT itself checks this only at opt and ignores inputs it does not know.",
  },
  BLD008: {
    title: "unknown GPU",
    about: "The GPUs known to the memory account are listed in configs/gpus, one file each; copy one to add another.",
  },
  BLD009: {
    title: "the engines do not fit into the GPU's memory",
    about:
      "Weights, KV cache, activations and the prompt table together need more than one GPU has. `mmtrt build --plan` shows each of them with its formula.",
  },
  BLD010: {
    title: "max_input_len is larger than max_seq_len",
    about:
      "max_seq_len counts the prompt and everything generated after it, so no prompt can be longer. TensorRT-LLM lowers max_input_len by itself; here the two are yours to choose.",
  },
  BLD011: {
    title: "max_input_len does not hold an image",
    about:
      "max_input_len counts the whole prompt, visual features included: an image of a LLaVA-1.5 model takes 576 of it before the first word.",
  },
  BLD012: {
    title: "max_seq_len is larger than the positions the model knows",
    about:
      "Rotary positions beyond the trained length (times the factor of rope_scaling) can be computed but were never seen in training, so text gets worse. A table of learned positions has no rows there at all, which is an error.",
  },
  BLD013: {
    title: "max_input_len leaves little room for text",
    about:
      "The prompt template alone (roles, newlines, the question) takes a few dozen tokens besides the image; a prompt that is too long is refused at run time.",
  },
  BLD014: {
    title: "max_multimodal_len is too small for max_batch_size",
    about:
      "The prompt table holds the visual features of the whole batch, flattened: max_batch_size × num_visual_features rows. With fewer rows a full batch is refused at run time, in TensorRT by a message that names neither the input nor the flag. `auto` computes it.",
  },
  BLD015: {
    title: "max_multimodal_len is larger than a batch can use",
    about:
      "Rows beyond max_batch_size × num_visual_features × images per prompt are never filled, and the engine reserves memory for them.",
  },
  BLD016: {
    title: "max_num_tokens is too small for max_input_len",
    about:
      "A prompt is prefilled in one step, so the tokens of one step must hold at least the longest prompt. TensorRT-LLM raises the number by itself. With --use_paged_context_fmha a prompt comes in as many pieces as it takes.",
  },
  BLD017: {
    title: "an opt size is outside its range",
    about:
      "TensorRT chooses kernels for the opt point, which must lie between min and max. Leave the option out to take the middle of the range.",
  },
  BLD018: {
    title: "a prompt of max_input_len leaves no room for an answer",
    about:
      "max_seq_len counts prompt and generated tokens together; where it equals max_input_len, a prompt of full length gets a single token.",
  },
  BLD019: {
    title: "multiple_profiles and opt_num_tokens exclude each other",
    about: "multiple_profiles gives every token range its own opt point, so a single opt point has no place.",
  },
  BLD020: {
    title: "tp_size does not divide the attention heads",
    about: "Every tensor-parallel rank holds the same number of whole heads. Convert with a tp_size that divides them.",
  },
  BLD021: {
    title: "tp_size does not fit the key/value heads",
    about:
      "A rank holds whole key/value heads, or one copy of a head that it shares with other ranks; a part of a head cannot be attended to.",
  },
  BLD022: {
    title: "pp_size does not divide the layers",
    about: "Every pipeline stage holds the same number of layers; TensorRT-LLM drops the remaining ones in silence.",
  },
  BLD023: {
    title: "world_size is not tp_size × pp_size",
    about: "The checkpoint's mapping says for how many ranks it was made. Convert again instead of editing it.",
  },
  BLD024: {
    title: "tp_size does not divide the MLP",
    about: "Every rank holds the same number of the MLP's inner columns.",
  },
  BLD025: {
    title: "the embedding table cannot be shared among the ranks",
    about:
      "A parallel embedding splits the vocabulary (sharding dim 0, padded to equal parts) or the hidden size (dim 1, which must divide), and one table can serve as lm_head only when both are split alike.",
  },
  BLD026: {
    title: "the parallelism asked for is not the checkpoint's",
    about: "Weights are split by `mmtrt convert`; a build takes tp_size and pp_size from the checkpoint.",
  },
  BLD027: {
    title: "a rank's weights are missing",
    about:
      "The checkpoint has one rank{R}.safetensors for each rank of its mapping. TensorRT-LLM builds a missing rank with dummy weights; mmtrt does not.",
  },
  BLD028: {
    title: "several ranks share one process on ONNX Runtime",
    about:
      "ONNX Runtime has no collectives between processes. mmtrt cuts each rank's graph where ranks exchange numbers and does the sums and gathers itself, so the answers are the whole model's; nothing is faster for it.",
  },
  BLD029: {
    title: "the checkpoint has no visual part",
    about: "A model that takes text alone has no image encoder to build.",
  },
  BLD030: {
    title: "a plugin's dtype is not the model's",
    about:
      "The plugin would read the model's weights and activations in another dtype. `auto` takes the checkpoint's dtype.",
  },
  BLD031: {
    title: "a paged KV cache needs the attention plugin",
    about:
      "A paged cache pays where the attention plugin updates its blocks in place. Its node has a body of standard operators for where no library has the plugin, which is right and copies the pool at every step.",
  },
  BLD032: {
    title: "this kv_cache_type is not available",
    about:
      "Decoders of encoder-decoders have a continuous or a static cache; `continuous` works with every model and backend.",
  },
  BLD033: {
    title: "tokens_per_block is not a usable block size",
    about: "The attention kernels address a block by shifting, for sizes 8, 16, 32, 64 and 128.",
  },
  BLD034: {
    title: "use_paged_context_fmha does not go with this KV cache",
    about:
      "The fused context attention over a paged cache reads keys and values in the cache's dtype: INT8 has no such kernel, FP8 needs FP8 weights.",
  },
  BLD035: {
    title: "use_fused_mlp does not go with this quantization",
    about:
      "Fusing puts the gate and up weights into one matrix; quantized ones carry scales per matrix and cannot be joined, except FP8.",
  },
  BLD040: {
    title: "ONNX Runtime cannot run this quantization",
    about:
      "ONNX Runtime's CPU provider has FP8 only for quantizing and dequantizing: it cannot join FP8 tensors, so an FP8 cache cannot grow there. Such checkpoints are for TensorRT on GPUs from SM 89 on; an INT8 cache takes as few bytes and runs everywhere.",
  },
  BLD041: {
    title: "logits are rounded to float16",
    about:
      "logits_dtype float16 halves the output and rounds what a bfloat16 or float32 model computes. Samplers here and in TensorRT-LLM read float32, the default.",
  },
  BLD043: {
    title: "bfloat16 is computed as float32 in ONNX Runtime",
    about:
      "ONNX Runtime's CPU kernels lack bfloat16. The weights stay bfloat16 in the file and are widened when loaded: same values, twice the memory.",
  },
  BLD044: {
    title: "the static KV cache needs TensorRT 10.15",
    about:
      "A static cache is written in place by the TensorScatter operator, which TensorRT reads from 10.15 on (TensorRT-RTX 1.7 too). A continuous cache builds with every release.",
  },
  BLD045: {
    title: "a target GPU does not compute in the model's dtype",
    about: "bfloat16 arithmetic exists from SM 80 on, FP8 from 89, FP4 from 120. Older GPUs run float16 and float32.",
  },
  BLD046: {
    title: "refittable engines need a GPU to build",
    about:
      "Engines whose weights can be exchanged or are left out (refit, strip_plan) hold kernels that TensorRT-RTX compiles for the GPU at hand. Engines with their weights inside are compiled without one.",
  },
  BLD047: {
    title: "a refittable engine is for one compute capability",
    about: "TensorRT-RTX compiles refittable kernels for a single SM. Build one engine directory for each.",
  },
  BLD048: {
    title: "not a TensorRT release",
    about:
      "tensorrt_version is a release of TensorRT from 10.0 on, such as 10.13: it decides which operators the graphs may use. TensorRT-RTX, whose versions count from 1, reads them all.",
  },
  BLD049: {
    title: "words after -- have nobody to go to",
    about: "They are flags for trtexec, which only a TensorRT backend runs.",
  },
  BLD051: {
    title: "options of TensorRT with another backend",
    about:
      "The onnxruntime backend writes graphs and builds no engines, so options of TensorRT's builder change nothing.",
  },
  BLD050: {
    title: "max_beam_width is larger than the vocabulary allows",
    about:
      "A step of beam search keeps 2 × beam_width candidates, so that enough remain when some of them end; they must be different tokens.",
  },
  BLD052: {
    title: "the encoder has fewer positions than its longest prompt",
    about:
      "BART and mBART look up each position of the prompt in a learned table, which ends. Lower max_encoder_input_len (or max_input_len, from which it is taken).",
  },
  BLD053: {
    title: "T5 may overflow in float16",
    about:
      "T5 was trained in bfloat16: activations of its feed-forward layers go beyond float16's 65504 in the larger models, and then every answer is NaN or nonsense. Convert with --dtype bfloat16 or float32.",
  },
  BLD054: {
    title: "tensor parallelism needs a TensorRT that knows collectives",
    about:
      "The graphs of tensor-parallel ranks hold DistCollective nodes (all-reduce, all-gather), which TensorRT reads from 10.16 on and TensorRT-RTX reads. With a library of mmtrt's plugins they hold AllReduce nodes instead, which any release calls. Pipeline stages need none: they hand hidden states on by inputs and outputs.",
  },
  BLD055: {
    title: "max_num_tokens is too small for a batch",
    about:
      "With --use_paged_context_fmha a prefill is cut into pieces of max_num_tokens / max_batch_size tokens of each sequence, at least one; a generation step has one token of each beam of each sequence.",
  },
  BLD056: {
    title: "use_paged_context_fmha is for decoder-only models",
    about:
      "A prompt can come in pieces, and its beginning be reused, where no token sees those after it. In an encoder every token sees all others.",
  },
  BLD057: {
    title: "use_paged_context_fmha with angles that depend on the prompt's length",
    about:
      "Dynamic and longrope scaling turn all keys of a prompt by angles for its whole length once that is beyond the trained one. A first piece is computed before the length is known, so its keys would have other angles than in one step.",
  },
  BLD058: {
    title: "a prompt is too long for one step of TensorRT",
    about:
      "TensorRT takes tensors of at most 2^40 elements. Attention in standard operators has the scores of every new token with every token before it, batch × heads × step × length, as one. With --use_paged_context_fmha a prompt comes in pieces of max_num_tokens; the attention plugin has no such tensor.",
  },
  BLD059: {
    title: "a piece of a prompt is shorter than what sees each other",
    about:
      "Tokens of an image of Gemma 3, and all of a prompt of PaliGemma, see each other both ways. A prompt in pieces is never cut between them, so a piece must have room for all of them: max_num_tokens ÷ max_batch_size tokens.",
  },
  BLD060: {
    title: "the checkpoint's weights are in the layout of TensorRT-LLM's kernels",
    about:
      "convert --weight_layout sm70, sm80 or sm90 writes INT8 and INT4 weights as TensorRT-LLM's mixed-type kernels read them. mmtrt's engines read them row by row: convert again with the plain layout.",
  },
  BLD061: {
    title: "a target GPU has no kernels for the quantized weights",
    about:
      "FP8 arithmetic exists from SM 89 on. TensorRT-RTX multiplies by INT8 and INT4 weights from SM 80 on. Leave the older GPUs out, or build them an engine of an unquantized checkpoint.",
  },
  BLD062: {
    title: "a static cache cannot be quantized in TensorRT",
    about:
      "TensorRT writes new keys and values into a static cache in place by a layer that takes float32, float16 and bfloat16. Quantized caches are continuous ones there; ONNX Runtime takes both.",
  },
  BLD070: {
    title: "the engine's dtype cannot be made of this checkpoint",
    about:
      "build --compute_dtype (TensorRT-LLM's --dtype) casts the checkpoint's weights while the engine is built, to bfloat16 for TensorRT and to float32 everywhere. float16, and dtypes of a quantized checkpoint, are convert's: mmtrt convert --dtype.",
  },
  BLD080: {
    title: "the engines need more than max_gpu_memory to run",
    about:
      "Weights, KV cache, activations and the prompt table of the fullest rank are more than one GPU may give (with ONNX Runtime: than the process may take). `mmtrt build --plan` shows each of them with its formula; every change that the message names was computed to fit.",
  },
  BLD081: {
    title: "a builder needs more than max_build_memory",
    about:
      "TensorRT holds an engine's weights three times before it is written: as pages of the file, as its own copy and as the serialized engine. `mmtrt build --plan` shows the prediction for each engine; that of builds on a GPU is an estimate. With several workers, only as many builders run at a time as fit together.",
  },
  BLD090: {
    title: "the largest images do not fit in a full batch",
    about:
      "Where images are cut into tiles or keep their size, the largest one that the processor can make brings many times the tokens of the smallest. max_input_len bounds one prompt, max_multimodal_len all images of a batch. Smaller limits are a fair choice where images are known to be small: mmtrt plan --images tells what given sizes take.",
  },
  BLD091: {
    title: "images cannot be budgeted",
    about:
      "mmtrt plan --images takes sizes as 1280x720, width first, of a model that sees: what an image brings to prompt and engines follows from its pixels alone, so no file is needed.",
  },
  BLD092: {
    title: "the visual engine holds no whole image",
    about:
      "Patches of one image see each other, so an image is encoded in one call: max_visual_batch, in patches, bounds its size (Qwen2-VL and its successors). auto is the largest image that a prompt has room for. mmtrt plan --images tells how many patches an image has.",
  },
} as const satisfies Record<string, CodeInfo>;

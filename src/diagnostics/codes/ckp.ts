import type { CodeInfo } from "../code-info.ts";

export const CKP = {
  CKP001: {
    title: "a checkpoint file is missing",
    about:
      "The path was named by you, by an index file or by the format, and nothing is there. Download the file again, or correct the path; in a Hugging Face cache a broken link means that the blob was deleted.",
  },
  CKP002: {
    title: "a checkpoint file cannot be read",
    about:
      "The operating system refused to open or read the file (permissions, a directory in its place, or a failing disk). The message carries the system's own word.",
  },
  CKP003: {
    title: "a checkpoint file is empty",
    about: "A file of 0 bytes is what an interrupted download or a full disk leaves. Download it again.",
  },
  CKP004: {
    title: "a file is a Git LFS pointer, not the weights",
    about:
      "The repository was cloned without Git LFS, so each large file is a short text that names the real one. Run `git lfs install && git lfs pull` in the clone, or download with the Hugging Face client.",
  },
  CKP005: {
    title: "a file ends before its data",
    about:
      "A header or an earlier look at the file promised more bytes than there are: a download or copy was cut short, or the file is being written right now. Compare its size with the source and download it again.",
  },
  CKP006: {
    title: "a safetensors header is not usable",
    about:
      "A safetensors file begins with 8 bytes of header length and a JSON object. The length must fit the file and 100 MB; anything else is not safetensors, or is damaged.",
  },
  CKP007: {
    title: "a tensor gave another number of bytes than its shape needs",
    about:
      "The writer counts the bytes of every tensor, because one short tensor would shift all that follow it. This points at a damaged source file or at a bug in mmtrt.",
  },
  CKP008: {
    title: "a JSON file cannot be parsed",
    about:
      "The position is that of the first character that does not fit. A file that ends too early was cut short by a download or copy; duplicate keys are refused because readers disagree about which one counts.",
  },
  CKP009: {
    title: "a file cannot be written",
    about:
      "The disk is full, the directory is read-only or does not exist. Nothing is left under the final name: files are written aside and renamed when complete.",
  },
  CKP010: {
    title: "a tensor in a safetensors header is described wrongly",
    about:
      "Each entry needs dtype, shape and data_offsets that agree with each other and with the file: the tensors must cover the data exactly, with no overlap and no hole.",
  },
  CKP011: {
    title: "a tensor has a type this version cannot read",
    about: "The message lists the types that can be read. Save the checkpoint again with one of them.",
  },
  CKP012: {
    title: "a file is not a PyTorch checkpoint",
    about:
      "PyTorch writes an uncompressed zip archive with a data.pkl (since 1.6), or the older stream of pickles. TorchScript archives, compressed archives and the tar format from before 0.1.10 are not weights that can be read without running code.",
  },
  CKP013: {
    title: "a pickle is malformed",
    about:
      "The pickle inside a PyTorch file ends too early, uses an opcode no state dict needs, or does not fit together. Download the file again, or save it as safetensors.",
  },
  CKP014: {
    title: "a pickle asks for something other than tensors",
    about:
      "Unpickling an arbitrary global runs code, so only what state dicts need is allowed: dicts, lists, numbers, strings and tensors. Save the weights alone (`torch.save(model.state_dict(), …)` or safetensors); if the global looks like a command, treat the file as hostile.",
  },
  CKP015: {
    title: "a PyTorch tensor does not fit its storage",
    about:
      "Offset, sizes and strides of the tensor reach outside the bytes that the file keeps for it. The file is damaged.",
  },
  CKP016: {
    title: "a GGUF file is malformed",
    about: "A length, count, type or offset in the header does not fit the file. Download it again.",
  },
  CKP017: {
    title: "a GGUF model is of a kind this version does not read",
    about:
      "GGUF stores weights under its own names and in its own order for each architecture; only those that mmtrt can turn back into Hugging Face form are read. Convert the original Hugging Face checkpoint instead.",
  },
  CKP018: {
    title: "a GGUF file has a key this version does not know",
    about:
      "A key of the model's own section that nobody reads may change its numbers, and a wrong model must not look right.",
  },
  CKP019: {
    title: "no checkpoint is found",
    about:
      "A checkpoint is a directory with config.json and model.safetensors, its index with shards, or pytorch_model.bin; or a .gguf file; or, with --meta_ckpt_dir, params.json with consolidated.NN.pth.",
  },
  CKP020: {
    title: "a weight index is not usable",
    about:
      "model.safetensors.index.json must hold a weight_map from tensor name to the name of a file in the same directory. Names that lead out of the directory are refused: an index is data from somebody else.",
  },
  CKP021: {
    title: "a weight index and its shards disagree",
    about:
      "A tensor must be in the shard that the index names, and once only. Mixing files of two revisions of a model gives this; download all of them again.",
  },
  CKP022: {
    title: "Meta's params.json is not usable",
    about: "dim, n_layers and n_heads are needed, and the file must describe the consolidated.NN.pth files beside it.",
  },
  CKP023: {
    title: "the tokenizer of a GGUF file cannot be rebuilt",
    about:
      "A GGUF file names its text-splitting rules by a short word; for an unknown word mmtrt does not guess, because a wrong tokenizer gives wrong text that looks right. Put the model's tokenizer.json beside the .gguf file.",
  },
  CKP024: {
    title: "two tensors of a checkpoint have one name",
    about:
      "Nested dictionaries of a PyTorch file are joined with dots, and two paths gave the same name, or two files hold the same tensor.",
  },
  CKP040: {
    title: "tensors of the model are missing from the checkpoint",
    about:
      "config.json implies tensors that no weight file holds. Either the weights belong to another config, a shard is missing, or the names follow a layout this version does not know; the message lists names that look alike.",
  },
  CKP041: {
    title: "the checkpoint holds tensors that the model does not use",
    about:
      "Every stored tensor must be used or be known to be of no use; a left-over one means that config.json describes another model than the weights (fewer layers, a missing bias flag), and a wrong model must not look right.",
  },
  CKP042: {
    title: "a tensor has another shape than config.json implies",
    about:
      "The shape of each tensor follows from sizes in config.json. When they disagree, the config or the weights are of another model or revision.",
  },
  CKP043: {
    title: "a weight tensor is not of a float type",
    about:
      "Weights are float32, float16, bfloat16 or float64. Integers are codes of a quantized checkpoint, or the file is damaged.",
  },
  CKP044: {
    title: "two stored tensors mean the same tensor of the model",
    about:
      "The checkpoint mixes two name layouts of transformers, and mmtrt cannot know which of the two copies is meant.",
  },
  CKP045: {
    title: "tied embeddings, but lm_head differs from the embedding table",
    about:
      "tie_word_embeddings says that lm_head is the embedding table; the checkpoint stores both with different bytes. Versions of transformers disagree about which one counts, so mmtrt does not choose.",
  },
  CKP046: {
    title: "the output directory is not empty",
    about:
      "convert writes a whole directory and never mixes it with files of somebody else. Only what an earlier run of the same inputs and options left is continued.",
  },
  CKP047: {
    title: "another run is writing to the same output directory",
    about: "Two runs would overwrite each other's files. Wait for the other one, or give another directory.",
  },
  CKP048: {
    title: "weights hold NaN or infinite values",
    about:
      "A NaN weight makes every output NaN. Values outside the range of the target type become infinite: bfloat16 or float32 weights above 65504 do not fit float16. --strict refuses; without it the values are written as they are.",
  },
  CKP049: {
    title: "tokenizer or processor files are missing beside the weights",
    about:
      "The checkpoint is converted all the same, but run then needs token ids and preprocessed tensors instead of text and images. Copy tokenizer.json, tokenizer_config.json and preprocessor_config.json from the original repository.",
  },
  CKP050: {
    title: "the directory is not a checkpoint made by mmtrt convert",
    about:
      "A converted checkpoint has config.json, rank0.safetensors and so on, hf_config.json and mmtrt.json. A Hugging Face directory has to be converted first.",
  },
  CKP051: {
    title: "a rank file does not fit the checkpoint's config",
    about:
      "A file is missing, of another size than the manifest says, or its tensors do not match; TensorRT-LLM would go on with random weights here, mmtrt does not. Convert again.",
  },
  CKP052: {
    title: "the model cannot be split among that many tensor-parallel ranks",
    about:
      "Each rank holds whole attention heads and equal parts of the MLP; key/value heads are either dealt out or copied whole. The message lists tp_size values that fit.",
  },
  CKP053: {
    title: "the model cannot be split into that many pipeline stages",
    about: "Every stage holds the same number of layers, so pp_size must divide num_hidden_layers.",
  },
  CKP054: {
    title: "the embedding table cannot be shared with lm_head",
    about:
      "Sharing needs tied embeddings, both tensors on one rank (pp_size 1) and split alike: tp_size 1, or use_parallel_embedding with embedding_sharding_dim 0.",
  },
  CKP055: {
    title: "no model to convert was named",
    about: "convert takes either MODEL_DIR (Hugging Face or GGUF) or --meta_ckpt_dir, not both and not none.",
    exit: 2,
  },
  CKP056: {
    title: "Meta's checkpoint files do not fit together",
    about:
      "Each consolidated.NN.pth holds one tensor-parallel part of every tensor; joined, they must give the shapes that params.json implies. A file is missing or of another model.",
  },
  CKP057: {
    title: "no model goes by that name",
    about:
      "plan --model and synth --preset take published models by name: one file each in configs/models, which mmtrt plan --list shows. Any other model is known by its config.json: mmtrt plan DIR, mmtrt synth --model_config FILE.",
    exit: 2,
  },
  CKP058: {
    title: "an option of convert has no effect on this model",
    about:
      "The model's structure leaves the option nothing to do, so it is left out; the converted weights are the same as without it. OPT-350m's embedding and lm_head are products of two tables each and can neither be split nor shared.",
  },
  CKP059: {
    title: "the vision tower's directory is missing, or given where it is not needed",
    about:
      "Checkpoints of LLaVA's own training code (architectures LlavaLlamaForCausalLM) name their image encoder in mm_vision_tower and do not store it. Name that model with --vision_tower_dir, by its directory or its name on the Hub. Other layouts hold everything themselves.",
  },
  CKP060: {
    title: "the file is not an ONNX model that can be read",
    about:
      "The file is damaged, cut short, larger than the 2 GB that an ONNX file can have, or of another format. Weights of larger models lie beside the graph as external data.",
  },
  CKP061: {
    title: "the path is nothing that mmtrt inspect knows",
    about:
      "inspect looks at Hugging Face model directories, GGUF, safetensors and ONNX files, checkpoints of mmtrt convert and engine directories of mmtrt build.",
  },
  CKP062: {
    title: "a stored tensor changes the output and has no place in the checkpoint",
    about:
      "BART's final_logits_bias is added to the logits. Published checkpoints hold zeros there, which are left out, as TensorRT-LLM's converter does; other values would be lost, so they are refused.",
  },
  CKP063: {
    title: "there is nothing to plan, or more than one thing",
    about:
      "plan takes a directory or GGUF file, or the name of a published model with --model. Engine directories are past planning: inspect shows what they hold.",
    exit: 2,
  },
  CKP064: {
    title: "the model has no such size",
    about:
      "synth's flags for sizes are named as in LLaMA's config.json and mean the same size of another model under its own name. Only LLaMA, Mistral and Qwen2 have fewer key/value heads than query heads.",
    exit: 2,
  },
  CKP065: {
    title: "a file changed while it was being read",
    about:
      "Between the first look at the file and the last it was replaced, written to or removed: a download that was still running, or a training that saved over it. The result could be of two versions, so it is not kept. Wait until the other program has ended and run the command again.",
  },
  CKP080: {
    title: "encoder-decoders are not quantized",
    about:
      "TensorRT-LLM's converter takes the quantization flags for T5, BART, mBART and Nougat and leaves the weights as they are. mmtrt says so instead. Decoder-only models, and the language models of LLaVA, VILA and BLIP-2-OPT, can be quantized.",
  },
  CKP081: {
    title: "options of quantization that do not go together",
    about:
      "Each option belongs to one format: per_token and per_channel to SmoothQuant, group_size to INT4, weight_layout to weight-only. TensorRT-LLM's converters ignore what does not fit, and the checkpoint is then another one than was asked for.",
  },
  CKP082: {
    title: "a layer's sizes do not fit the quantized form",
    about:
      "Two INT4 codes share a byte, so a rank's outputs must be even. TensorRT-LLM's weight layouts are made of tiles of 64 × 64. Split over fewer ranks, or keep the plain layout.",
  },
  CKP083: {
    title: "the group size does not fit a layer",
    about:
      "A group of INT4 weights shares a scale and lies on one rank: group_size must divide each rank's inputs of every layer. Kernels exist for groups of 32, 64 and 128.",
  },
  CKP084: {
    title: "this version cannot make that quantized form",
    about: "The message names the forms that can be made. Nothing is written.",
  },
  CKP085: {
    title: "the file of activation ranges is not of this model",
    about:
      "--act_ranges takes a safetensors file with the largest absolute values of every linear layer: <module>.x for each input channel and <module>.y for each output, under Hugging Face's module names. A calibration of mmtrt writes such a file.",
  },
  CKP087: {
    title: "the calibration texts cannot be read",
    about:
      "--calib_dataset takes a file of texts, one a line, or JSON lines with text, input_ids, or image, question and expected. Without it mmtrt uses the English prose that it ships.",
  },
  CKP088: {
    title: "ranges of activations are missing",
    about:
      "SmoothQuant, INT8 KV caches, FP8 and AWQ need to know what values the model's layers see. mmtrt convert measures them; a program that calls convert itself has to give a file of ranges.",
  },
  CKP092: {
    title: "the tensors of a quantized layer do not fit together",
    about:
      "A layer of a quantized checkpoint is stored as codes, scales and, where the format has them, zero points. One of them is missing, has another shape than the codes and the group size of config.json imply, or another element type. A shard is missing or config.json belongs to another checkpoint.",
  },
  CKP093: {
    title: "a quantized layer has its inputs in another order",
    about:
      "GPTQ with desc_act puts inputs into groups by importance, so that neighbouring weights have scales of different groups. The kernels of TensorRT and ONNX Runtime have one scale for each run of neighbouring inputs. A g_idx that is in order is accepted whatever desc_act says. Convert a checkpoint that was quantized with desc_act false.",
  },
  CKP094: {
    title: "quantized weights are stored in another form than they came in",
    about:
      "A note: engines have no form that is exactly that of the checkpoint, so that weights were put in smaller groups (the same numbers), brought to one scale, or turned back into float numbers. Float numbers take more memory; --use_weight_only or --qformat quantizes them again.",
  },
  CKP086: {
    title: "SmoothQuant does not fit the model",
    about:
      "SmoothQuant divides the output of the norm before a product and multiplies the product's weights. In models with norms behind attention and MLP (OPT-350m) the norm's output is also added to the next layer's, so it cannot be divided.",
  },
  CKP070: {
    title: "the language model of --llm_dir does not fit the visual part",
    about:
      "convert --llm_dir joins the image encoder and projection of a BLIP-2 or LLaVA directory with a language model of another directory. Both must be of one model_type, hidden_size and vocabulary; for LLaVA the tokenizer must know the image token.",
  },
} as const satisfies Record<string, CodeInfo>;

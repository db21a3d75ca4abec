import type { CodeInfo } from "../code-info.ts";

export const NUM = {
  NUM001: {
    title: "logits hold NaN or infinite values",
    about:
      "The graph computed something that is not a number, so the next token would be arbitrary. Usual causes: activations beyond float16's 65504 (build the model in bfloat16 or float32), or damaged weights.",
    exit: 4,
  },
  NUM002: {
    title: "a stage differs from the reference by more than the tolerance",
    about:
      "verify compares stage by stage and names the first that is out of tolerance; what comes after it differs as a consequence. Look at that stage's weights and settings first.",
    exit: 4,
  },
  NUM003: {
    title: "accuracy is below the threshold",
    about:
      "run --check_accuracy found fewer right answers than --accuracy_threshold asks for, or eval passkey fewer numbers than --min_accuracy.",
    exit: 4,
  },
  NUM004: {
    title: "a reference file cannot be compared with",
    about:
      "The safetensors file given to verify lacks stages, or its tensors have other shapes than this model's. Make it again from the same checkpoint with test/reference/make_llava_reference.py, or make_pair_reference.py of an encoder-decoder.",
  },
  NUM005: {
    title: "two engine directories are not one model, split and in one piece",
    about:
      "verify --ranks compares the ranks of --engine_dir with the same model built from a checkpoint of one rank. Convert the model directory twice, once with --tp_size or --pp_size and once without, and build both.",
  },
  NUM006: {
    title: "the ranks do not compute what the model in one piece does",
    about:
      "verify --ranks compares every sum over ranks, every layer and the logits, and names the first that is out of tolerance. What comes after it differs as a consequence. A rank file that belongs to another conversion is the usual cause.",
    exit: 4,
  },
  NUM007: {
    title: "a request takes longer, or more memory, than before",
    about:
      "run --run_profiling --compare has found a time or an amount of memory that is larger than in the earlier profile by more than --compare_tolerance. The table before it shows all of them.",
    exit: 4,
  },
} as const satisfies Record<string, CodeInfo>;

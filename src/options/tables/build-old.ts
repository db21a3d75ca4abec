import { defineOptions } from "../define.ts";

const ABOUT = "Old flag of TensorRT-LLM's builders.";
const DTYPES = ["auto", "float16", "bfloat16", "float32"] as const;

const ATTENTION = "attention is one node, and the backend chooses its kernel";

/** A switch of an old command line that changes no number here; the text says what does its work. */
function dead<const I extends string>(ignored: I, byDefault = false) {
  return { type: "boolean", default: byDefault, hidden: true, about: ABOUT, ignored } as const;
}

/** The same for a flag that also takes a dtype (`--bert_attention_plugin float16`). */
function deadPlugin<const I extends string>(ignored: I) {
  return { type: "boolean", words: DTYPES, default: false, hidden: true, about: ABOUT, ignored } as const;
}

function deadText<const I extends string>(ignored: I) {
  return { type: "string", hidden: true, about: ABOUT, ignored } as const;
}

/** Flags of published recipes (trtllm-build, enc_dec/build.py) that engines of mmtrt have no use for. */
export const oldBuildOptions = defineOptions({
  moe_plugin: deadPlugin("none of the models has experts"),
  strongly_typed: dead("engines are always strongly typed"),
  remove_input_padding: dead("inputs are [batch, seq] with an attention mask; padding changes no result"),
  context_fmha: dead(ATTENTION, true),
  use_context_fmha: dead(ATTENTION, true),
  context_fmha_fp32_acc: dead("attention is one node, and the backend chooses how its kernel accumulates"),
  use_context_fmha_for_generation: dead(ATTENTION),
  multi_block_mode: dead(ATTENTION),
  enable_xqa: dead(ATTENTION, true),
  use_custom_all_reduce: dead("the all-reduce is chosen when the engine runs"),
  nougat: dead("the checkpoint says what model it is: Nougat's has no text encoder to skip"),
  skip_encoder: dead("the checkpoint says what model it is: where there is no text encoder, none is built"),
  model_type: deadText("the checkpoint says what model it is"),
  engine_name: deadText("files of an engine directory always have the same names"),
  log_level: deadText("--quiet, --json and --debug say what is printed"),
});

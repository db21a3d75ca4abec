import { featureRange, visualTokensOf } from "../models/parts/visual-tokens.ts";
import type { ModelSpec } from "../models/spec.ts";
import type { BuildOptions } from "../options/tables/build.ts";
import { trainedPositions, USUAL_TEXT_TOKENS } from "../rules/lengths.ts";
import { promptRowsOfBatch } from "../rules/multimodal.ts";
import type { BuildSettings } from "../rules/rule.ts";
import { tokenBounds, unitsOf, visualUnit } from "../vision/index.ts";

/** A number that was chosen for the user: shown with the plan, because nothing changes in silence. */
export interface Adjustment {
  readonly option: string;
  readonly from: string | number | boolean | null;
  readonly to: string | number | boolean | null;
  readonly why: string;
}

export interface SettingsInput {
  readonly options: BuildOptions;
  readonly spec: ModelSpec;
  /** Engines there are to build. */
  readonly engines: number;
  /** GPUs that engines are built on; undefined where none is needed, or nobody knows. */
  readonly devices?: number | undefined;
  /** max_seq_len was given as max_output_len, to which max_input_len has been added. */
  readonly addsInput?: boolean;
  /** Whether the user gave an option: a default may be adjusted, a given value may not. */
  given(key: string): boolean;
}

export interface Settings {
  readonly build: BuildSettings;
  readonly workers: number;
  /** Tokens of a step over the whole batch; what the engine's config states. */
  readonly maxNumTokens: number;
  readonly optNumTokens: number;
  readonly adjustments: readonly Adjustment[];
}

/** Every `auto` and absent number resolved. Given values are taken as they are, even wrong ones: rules judge them. */
export function resolveSettings(input: SettingsInput): Settings {
  const { options, spec } = input;
  const adjustments: Adjustment[] = [];
  const max_seq_len = sequenceLength(input, adjustments);
  const max_input_len = inputLength(input, max_seq_len, adjustments);
  const max_multimodal_len = promptRows(options, spec, max_input_len, adjustments);
  const build: BuildSettings = {
    backend: options.backend,
    compute_dtype: options.compute_dtype,
    max_batch_size: options.max_batch_size,
    max_input_len,
    max_encoder_input_len: encoderLength(input, max_input_len, adjustments),
    max_seq_len,
    max_beam_width: options.max_beam_width,
    max_multimodal_len,
    max_visual_batch: visualBatch(options, spec, { rows: max_multimodal_len, max_input_len }, adjustments),
    max_num_tokens: options.max_num_tokens,
    opt_num_tokens: options.opt_num_tokens,
    opt_batch_size: options.opt_batch_size,
    opt_input_len: options.opt_input_len,
    opt_seq_len: options.opt_seq_len,
    multiple_profiles: options.multiple_profiles,
    tp_size: options.tp_size,
    pp_size: options.pp_size,
    kv_cache_type: options.kv_cache_type,
    tokens_per_block: options.tokens_per_block,
    gpt_attention_plugin: options.gpt_attention_plugin,
    bert_attention_plugin: options.bert_attention_plugin,
    gemm_plugin: options.gemm_plugin,
    weight_only_quant_matmul_plugin: options.weight_only_quant_matmul_plugin,
    smooth_quant_gemm_plugin: options.smooth_quant_gemm_plugin,
    rmsnorm_plugin: options.rmsnorm_plugin,
    layernorm_plugin: options.layernorm_plugin,
    lookup_plugin: options.lookup_plugin,
    lora_plugin: options.lora_plugin,
    nccl_plugin: options.nccl_plugin,
    use_fused_mlp: options.use_fused_mlp,
    use_paged_context_fmha: options.use_paged_context_fmha,
    logits_dtype: options.logits_dtype,
  };
  const workers = workerCount(input, adjustments);
  return { build, workers, ...tokensOfStep(build, adjustments), adjustments };
}

/** TensorRT-LLM's defaults, and its clipping of what no step can reach; raising too small a number is left to a rule. */
function tokensOfStep(
  build: BuildSettings,
  adjustments: Adjustment[],
): { readonly maxNumTokens: number; readonly optNumTokens: number } {
  const { max_batch_size, max_beam_width, max_num_tokens: given } = build;
  const reachable = max_batch_size * Math.max(build.max_seq_len, max_beam_width);
  const maxNumTokens = Math.min(given ?? max_batch_size * build.max_input_len, reachable);
  if (given !== undefined && given > reachable) {
    const why = `a batch of ${max_batch_size} × max_seq_len ${build.max_seq_len} has no more`;
    adjustments.push({ option: "max_num_tokens", from: given, to: maxNumTokens, why });
  }
  return {
    maxNumTokens,
    optNumTokens: build.opt_num_tokens ?? Math.min(max_batch_size * max_beam_width, maxNumTokens),
  };
}

/** TensorRT-LLM's rule: without max_seq_len, the positions the model was trained for. */
function sequenceLength({ options, spec, addsInput }: SettingsInput, adjustments: Adjustment[]): number {
  if (options.max_seq_len !== undefined && addsInput && spec.encoderDecoder !== undefined) {
    const to = options.max_seq_len - options.max_input_len + 1;
    const why = "max_output_len and the start token: the prompt is the encoder's input";
    adjustments.push({ option: "max_seq_len", from: options.max_seq_len, to, why });
    return to;
  }
  if (options.max_seq_len !== undefined) return options.max_seq_len;
  const to = trainedPositions(spec.language);
  adjustments.push({ option: "max_seq_len", from: null, to, why: "the positions the model was trained for" });
  return to;
}

/** The default of 1024 is lowered to a short model's positions, or raised to hold an image; a given value never. */
function inputLength({ options, spec, given }: SettingsInput, maxSeqLen: number, adjustments: Adjustment[]): number {
  const from = options.max_input_len;
  const needed = featureRange(spec).mostTokens + USUAL_TEXT_TOKENS;
  const to = Math.min(Math.max(from, needed), maxSeqLen);
  if (given("max_input_len") || to === from) return from;
  const why = to < from ? "the default does not fit into max_seq_len" : "the default does not hold an image and text";
  adjustments.push({ option: "max_input_len", from, to, why });
  return to;
}

/** An image's features where they are all the encoder gives; else the prompt's length, for the prompt is the encoder's. */
function encoderLength({ options, spec }: SettingsInput, maxInputLen: number, adjustments: Adjustment[]): number {
  const { encoderDecoder, swin } = spec;
  if (encoderDecoder === undefined) return 0;
  const from = options.max_encoder_input_len ?? null;
  const to = swin?.numVisualFeatures ?? from ?? maxInputLen;
  const why =
    swin === undefined
      ? "max_input_len: the prompt is the encoder's input"
      : `an image always gives ${to} visual features, and the decoder attends to all of them`;
  if (to !== from) adjustments.push({ option: "max_encoder_input_len", from, to, why });
  return to;
}

function promptRows(options: BuildOptions, spec: ModelSpec, maxInputLen: number, adjustments: Adjustment[]): number {
  if (options.max_multimodal_len !== "auto") return options.max_multimodal_len;
  const batch = options.max_batch_size;
  const to = promptRowsOfBatch(spec, batch, maxInputLen);
  const { least, most } = featureRange(spec);
  const image = least === most ? "an image" : to < batch * most ? "a prompt" : "the largest image";
  const why =
    to === 0
      ? "the model takes no images"
      : `max_batch_size ${batch} × ${to / batch} ${image === "a prompt" ? "tokens" : "visual features"} of ${image}`;
  adjustments.push({ option: "max_multimodal_len", from: "auto", to, why });
  return to;
}

/**
 * Images of a batch; where an image has tiles or patches, those of the largest that the prompt table holds: others wait their turn. Every
 * patch may see all others, so patches are no more than one prompt has room for.
 */
function visualBatch(
  options: BuildOptions,
  spec: ModelSpec,
  room: { readonly rows: number; readonly max_input_len: number },
  adjustments: Adjustment[],
): number {
  if (options.max_visual_batch !== "auto") return options.max_visual_batch;
  const rule = visualTokensOf(spec);
  if (rule === undefined || visualUnit(rule) === "images") return options.max_batch_size;
  const { most } = tokenBounds(rule);
  const units = unitsOf(rule, most);
  const inPatches = visualUnit(rule) === "patches";
  const rows = inPatches ? Math.min(room.rows, room.max_input_len) : room.rows;
  const to = Math.max(1, Math.min(units, Math.ceil((rows * units) / most.features)));
  const holder = rows < room.rows ? "max_input_len" : "max_multimodal_len";
  const why = `${visualUnit(rule)} of ${to === units ? "the largest image" : `an image that ${holder} holds`}`;
  adjustments.push({ option: "max_visual_batch", from: "auto", to, why });
  return to;
}

/** More workers than engines do nothing; TensorRT-LLM clips to the number of GPUs, which without one is 0 and fails. */
function workerCount({ options, engines, devices = engines }: SettingsInput, adjustments: Adjustment[]): number {
  const most = Math.min(engines, Math.max(1, devices));
  if (options.workers <= most) return options.workers;
  const what = most === engines ? ["engine", "to build"] : ["GPU", "to time kernels on, for one build each"];
  const why = most === 1 ? `there is one ${what.join(" ")}` : `there are ${most} ${what.join("s ")}`;
  adjustments.push({ option: "workers", from: options.workers, to: most, why });
  return most;
}

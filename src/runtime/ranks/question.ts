import { join } from "node:path";
import { fail } from "../../diagnostics/index.ts";
import type { LlmEngineConfig } from "../../formats/engine-config.ts";
import { Random } from "../generate/sample.ts";
import { staticCapacity } from "../profiles.ts";
import { type Features, tableIo } from "../prompt-table.ts";
import type { RunnableEngine } from "../runnable.ts";

/** What both are asked. */
export interface RankQuestion {
  /** Ids ≥ vocab_size are rows of the features. Empty where the decoder attends to features alone. */
  readonly prompts: readonly (readonly number[])[];
  readonly features: Features | undefined;
  /** Decode steps there is room for after the prompt. */
  readonly steps: number;
}

const BATCH = 2;
const TOKENS = 11;
const ROWS = 3;

/**
 * Seeded prompts of two lengths, so that there is padding, with a few rows of the prompt table where there is one, as large
 * as both engines take.
 * @throws MmtrtError NUM005 when the directories are not the same model split and in one piece.
 */
export function rankQuestion(whole: RunnableEngine, ranked: RunnableEngine): RankQuestion {
  checkPair(whole, ranked);
  const { model } = whole.manifest;
  const random = new Random(0, 0);
  const least = (of: (config: LlmEngineConfig) => number): number => Math.min(of(whole.llm), of(ranked.llm));
  const batch = Math.min(
    BATCH,
    least(({ build_config }) => build_config.max_batch_size),
  );
  const sequence = least(({ build_config, io }) => staticCapacity(io) ?? build_config.max_seq_len);
  const pair = model.encoder_decoder;
  if (pair?.has_text_encoder === false) {
    const hidden = whole.llm.cross?.io.find(({ name }) => name === "encoder_output")?.shape[2] ?? 1;
    const features = randomFeatures(batch * model.num_visual_features, hidden, random);
    return { prompts: Array.from({ length: batch }, () => []), features, steps: sequence - 1 };
  }
  const tokens = Math.min(
    TOKENS,
    least(({ build_config }) => Math.min(build_config.max_input_len, longest(build_config))),
  );
  const width = tableIo(whole.encoder?.io ?? whole.llm.io)?.shape[1];
  const rows =
    width === undefined
      ? 0
      : Math.min(
          ROWS,
          tokens - 1,
          least(({ build_config }) => build_config.max_multimodal_len),
        );
  const prompts = Array.from({ length: batch }, (_, item) =>
    Array.from({ length: Math.max(1, tokens - 4 * item) }, (_, i) => {
      const row = i - 1;
      if (row >= 0 && row < rows) return model.vocab_size + row;
      return Math.floor(random.next() * model.vocab_size);
    }),
  );
  return {
    prompts,
    features: width === undefined || rows < 1 ? undefined : randomFeatures(rows, width, random),
    steps: Math.max(0, sequence - (pair === undefined ? tokens : 1)),
  };
}

/** Of an encoder-decoder the prompt is the encoder's. */
function longest({ max_encoder_input_len: encoder, max_seq_len: sequence }: LlmEngineConfig["build_config"]): number {
  return typeof encoder === "number" ? encoder : sequence;
}

function randomFeatures(rows: number, hidden: number, random: Random): Features {
  return { rows, hidden, values: Float32Array.from({ length: rows * hidden }, () => random.next() - 0.5) };
}

function checkPair(whole: RunnableEngine, ranked: RunnableEngine): void {
  const why = "ranks are compared with the very model that they are parts of";
  const nameOf = ({ manifest: { model }, llm }: RunnableEngine): string => {
    const { num_hidden_layers: layers, hidden_size: hidden, dtype } = llm.pretrained_config;
    return `${model.architecture}, ${layers} layers of ${hidden}, ${model.vocab_size} words, ${dtype}`;
  };
  if (ranked.llmParts.length === 1 || whole.llmParts.length > 1) {
    const [engine, has] = whole.llmParts.length > 1 ? [whole, whole.llmParts.length] : [ranked, 1];
    fail({
      code: "NUM005",
      what: `${engine.dir} has ${has} rank${has === 1 ? "; expected several" : "s; expected 1"}`,
      at: has === 1 ? "--engine_dir" : "--unsharded",
      why,
      fix: `--engine_dir of a checkpoint converted with --tp_size or --pp_size, and --unsharded of one converted without`,
    });
  }
  if (nameOf(whole) === nameOf(ranked)) return;
  fail({
    code: "NUM005",
    what: `the ranks are ${nameOf(ranked)}; the model in one piece is ${nameOf(whole)}`,
    at: join(whole.dir, "mmtrt.json"),
    why,
    fix: "convert and build both from the same model directory, with the same --dtype",
  });
}

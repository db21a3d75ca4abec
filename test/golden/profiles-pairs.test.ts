import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { type TrtllmEngine, trtllmProfiles } from "../../src/build/trtllm.ts";
import { decoderProfiles, defaultRange, encoderProfiles } from "../../src/emit/profiles.ts";
import { trtllmCrossDecoderInputs, trtllmEncoderInputs } from "../../src/emit/trtllm-pair-profiles.ts";
import type { TrtllmInput } from "../../src/emit/trtllm-range.ts";
import type { ProfileRange } from "../../src/formats/engine-config.ts";
import { MODERN } from "../../src/graph/dialect.ts";
import type { GraphOptions } from "../../src/models/architecture.ts";
import { encoderDecoderGraph, encoderGraph } from "../../src/models/parts/encoder-decoder-graph.ts";
import type { ModelSpec } from "../../src/models/spec.ts";
import type { BuildSettings } from "../../src/rules/rule.ts";
import { pair, SETTINGS } from "../support/specs.ts";

/** Ranges computed by TensorRT-LLM v0.11's own code; `shared/` lies beside the checkout where it is given at all. */
const file = fileURLToPath(new URL("../../../shared/goldens/profiles/v0.11.0.json", import.meta.url));
const present = existsSync(file);

interface Golden {
  readonly args: {
    readonly max_batch_size: number;
    readonly max_beam_width?: number;
    readonly max_input_len?: number;
    readonly max_decoder_input_len?: number;
    readonly max_encoder_input_len?: number;
    readonly max_seq_len?: number;
    readonly prompt_embedding_table_size?: number;
    readonly num_kv_heads?: number;
  };
  readonly plugins?: Readonly<Record<string, unknown>>;
  readonly inputs: readonly {
    readonly name: string;
    readonly shape: readonly number[];
    readonly profiles: readonly ProfileRange[] | "static";
  }[];
}

const all: Record<string, Golden> = present ? JSON.parse(readFileSync(file, "utf8")) : {};
const pairs = Object.entries(all).filter(([, { args }]) => args !== undefined && args.num_kv_heads === undefined);
const encoders = pairs.filter(([, { args }]) => args.max_encoder_input_len === undefined);
const decoders = pairs.filter(([, { args }]) => args.max_encoder_input_len !== undefined);

/** As google/flan-t5-xl and facebook/nougat-base give them. */
const FLAN_T5_XL = pair({ hiddenSize: 2048, heads: 32, kvHeads: 32, headDim: 64, layers: 24, positions: "relative" });
const NOUGAT = withoutTextEncoder(
  pair({ hiddenSize: 1024, heads: 16, kvHeads: 16, headDim: 64, layers: 10, positions: "learned" }),
);

function withoutTextEncoder({ encoderDecoder, ...spec }: ModelSpec): ModelSpec {
  const { encoder: _, ...rest } = encoderDecoder as Required<ModelSpec>["encoderDecoder"];
  return { ...spec, encoderDecoder: rest };
}

const specOf = (name: string): ModelSpec => (name.startsWith("nougat") ? NOUGAT : FLAN_T5_XL);

/** One rank has everything of both. */
function halfOf(name: string, { args, plugins = {} }: Golden) {
  const { language } = specOf(name);
  return {
    maxBatchSize: args.max_batch_size,
    hiddenSize: language.hiddenSize,
    isFirst: true,
    tpSize: 1,
    learnedPositions: language.positions === "learned",
    removeInputPadding: plugins.remove_input_padding !== false,
    attentionPlugin: plugins.bert_attention_plugin !== null,
    customAllReduce: true,
  };
}

function encoderOf(name: string, golden: Golden): readonly TrtllmInput[] {
  const { max_input_len = 0, prompt_embedding_table_size = 0 } = golden.args;
  return trtllmEncoderInputs({
    ...halfOf(name, golden),
    maxInputLen: max_input_len,
    promptRows: prompt_embedding_table_size,
  });
}

function decoderOf(name: string, golden: Golden): readonly TrtllmInput[] {
  const { language } = specOf(name);
  const { max_beam_width = 0, max_decoder_input_len = 0, max_seq_len = 0, max_encoder_input_len = 0 } = golden.args;
  return trtllmCrossDecoderInputs({
    ...halfOf(name, golden),
    maxBeamWidth: max_beam_width,
    maxInputLen: max_decoder_input_len,
    maxSeqLen: max_seq_len,
    maxEncoderInputLen: max_encoder_input_len,
    encoderSize: language.hiddenSize,
    kvHeads: language.kvHeads,
    headSize: language.headDim,
    encoderKvHeads: language.heads,
    encoderHeadSize: language.headDim,
    layers: Array.from({ length: language.layers }, (_, layer) => layer),
    isLast: true,
    pagedKvCache: golden.plugins?.paged_kv_cache !== false,
    tokensPerBlock: 64,
  });
}

function expectGolden(got: readonly TrtllmInput[], { inputs }: Golden): void {
  const wanted = Object.fromEntries(
    inputs.map(({ name, shape, profiles }) => [
      name,
      profiles === "static" ? [{ min: shape, opt: shape, max: shape }] : profiles,
    ]),
  );
  expect(Object.fromEntries(got.map(({ name, profiles }) => [name, profiles]))).toEqual(wanted);
}

/** What the whole command prints, for a checkpoint of one rank. */
function strict(spec: ModelSpec, change: Partial<BuildSettings>): readonly TrtllmEngine[] {
  const rank = { file: "", tensors: new Map() };
  const parallel = {
    tpSize: 1,
    ppSize: 1,
    parallelEmbedding: false,
    embeddingShardingDim: 0 as const,
    shareEmbedding: false,
  };
  const checkpoint = {
    spec,
    parallel,
    ranks: [rank],
    ...(spec.encoderDecoder?.encoder && {
      encoder: { ranks: [rank], config: {} as never },
    }),
  };
  const build = { ...SETTINGS, max_input_len: 1, max_multimodal_len: 0, ...change };
  return trtllmProfiles(checkpoint, { build, workers: 1, maxNumTokens: 0, optNumTokens: 0, adjustments: [] });
}

const inputsOf = (engines: readonly TrtllmEngine[], name: string): readonly TrtllmInput[] =>
  engines.find(engine => engine.name === name)?.inputs ?? [];

const goldenOf = (name: string, input: string): ProfileRange => {
  const found = all[name]?.inputs.find(one => one.name === input)?.profiles;
  expect(found, `${name} ${input}`).toBeInstanceOf(Array);
  return (found as readonly ProfileRange[])[0] as ProfileRange;
};

/** One axis of a range at min, opt and max. */
const axis = ({ min, opt, max }: ProfileRange, index: number): readonly (number | undefined)[] => [
  min[index],
  opt[index],
  max[index],
];

const OPTIONS: GraphOptions = {
  weightDtype: "bfloat16",
  computeDtype: "bfloat16",
  tpSize: 1,
  ppSize: 1,
  rank: 0,
  kvCache: { type: "continuous" },
  dialect: MODERN,
  promptTable: true,
};

const LIMITS = {
  maxBatchSize: 8,
  maxBeamWidth: 1,
  maxInputLen: 1,
  maxSeqLen: 100,
  promptRows: 256,
  encoderSeq: defaultRange(924),
};

describe.skipIf(!present)(
  `profiles of TensorRT-LLM v0.11's encoder-decoders${present ? "" : " (skipped: there is no shared/goldens beside the checkout)"}`,
  () => {
    it("has the configurations to compare with", () => {
      expect([encoders.length, decoders.length]).toEqual([2, 3]);
    });

    it.each(encoders)("%s: every input of the encoder has its range", (name, golden) => {
      expectGolden(encoderOf(name, golden), golden);
    });

    it.each(decoders)("%s: every input of the decoder has its range", (name, golden) => {
      expectGolden(decoderOf(name, golden), golden);
    });

    it("are what --strict_profiles prints for both halves with the attention plugin, TensorRT-LLM's default", () => {
      const limits = { max_batch_size: 8, max_seq_len: 100, max_encoder_input_len: 924, max_multimodal_len: 256 };
      const t5 = strict(FLAN_T5_XL, limits);
      expect(t5.map(({ name }) => name)).toEqual(["encoder/rank0", "decoder/rank0"]);
      expectGolden(inputsOf(t5, "encoder/rank0"), all.flan_t5_xl_encoder_bs8_mm256 as Golden);
      expectGolden(inputsOf(t5, "decoder/rank0"), all.flan_t5_xl_decoder_bs8 as Golden);
      const nougat = strict(NOUGAT, { max_seq_len: 100, max_encoder_input_len: 588 });
      expect(nougat.map(({ name }) => name)).toEqual(["decoder/rank0"]);
      expectGolden(inputsOf(nougat, "decoder/rank0"), all.nougat_decoder_bs1_enc588 as Golden);
    });

    it("are what it prints for a padded encoder without the plugin", () => {
      const limits = { max_batch_size: 8, max_seq_len: 100, max_encoder_input_len: 924, max_multimodal_len: 256 };
      const t5 = strict(FLAN_T5_XL, { ...limits, gpt_attention_plugin: "disable" });
      expectGolden(inputsOf(t5, "encoder/rank0"), all.flan_t5_xl_encoder_padded as Golden);
    });

    it("are ours for the encoder, but for the tasks: v0.11 fixes one row, whatever the batch", () => {
      const [profile] = encoderProfiles(encoderGraph(FLAN_T5_XL, OPTIONS), LIMITS);
      const golden = "flan_t5_xl_encoder_padded";
      for (const name of ["input_ids", "attention_mask", "prompt_embedding_table", "prompt_vocab_size"])
        expect(profile?.shapes[name], name).toEqual(goldenOf(golden, name));
      expect(goldenOf(golden, "tasks")).toEqual({ min: [1, 1], opt: [1, 1], max: [1, 1] });
      expect(profile?.shapes.tasks).toEqual({ min: [1, 1], opt: [4, 1], max: [8, 1] });
    });

    it("are ours for the decoder: batch, lengths of the encoder and heads; ours are given in every step, so never empty", () => {
      const [context, generation] = decoderProfiles(encoderDecoderGraph(FLAN_T5_XL, OPTIONS), LIMITS);
      const golden = "flan_t5_xl_decoder_bs8_nopaged";
      expect(generation?.shapes.last_token_ids).toEqual(goldenOf(golden, "last_token_ids"));
      for (const profile of [context, generation]) {
        const mask = profile?.shapes.encoder_attention_mask as ProfileRange;
        expect(axis(mask, 0)).toEqual(axis(goldenOf(golden, "encoder_input_lengths"), 0));
        expect(axis(mask, 1)).toEqual(axis(goldenOf(golden, "encoder_max_input_length"), 0));
        // Theirs holds key and value in one tensor: axis 1.
        const cross = goldenOf(golden, "cross_past_key_value_23");
        expect(profile?.shapes.cross_key_23).toEqual({
          min: cross.min.toSpliced(1, 1).with(2, 1),
          opt: cross.opt.toSpliced(1, 1),
          max: cross.max.toSpliced(1, 1),
        });
      }
      // The context's last token sees max_seq_len − 1 others; v0.11 adds max_decoder_input_len to max_seq_len.
      expect(axis(generation?.shapes.past_key_23 as ProfileRange, 2)).toEqual([0, 49, 99]);
      expect(axis(goldenOf(golden, "past_key_value_23"), 3)).toEqual([0, 51, 101]);
    });
  },
);

import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { decoderProfiles, splitTokens } from "../../src/emit/profiles.ts";
import { type TrtllmDecoder, trtllmDecoderInputs } from "../../src/emit/trtllm-profiles.ts";
import type { ProfileRange } from "../../src/formats/engine-config.ts";
import { MODERN } from "../../src/graph/dialect.ts";
import { decoderGraph } from "../../src/models/parts/decoder-graph.ts";
import { llava } from "../support/specs.ts";

/** Ranges computed by TensorRT-LLM v0.11's own code; `shared/` lies beside the checkout where it is given at all. */
const file = fileURLToPath(new URL("../../../shared/goldens/profiles/v0.11.0.json", import.meta.url));
const present = existsSync(file);

interface Args {
  readonly max_batch_size: number;
  readonly max_beam_width: number;
  readonly max_input_len: number;
  readonly max_seq_len: number;
  readonly num_kv_heads: number;
  readonly head_size: number;
  readonly num_layers: number;
  readonly remove_input_padding: boolean;
  readonly use_gpt_attention_plugin: boolean;
  readonly use_gemm_plugin: boolean;
  readonly paged_kv_cache: boolean;
  readonly tokens_per_block: number;
  readonly max_num_tokens: number | null;
  readonly opt_num_tokens: number | null;
  readonly prompt_embedding_table_size: number;
  readonly lora_target_modules: readonly string[] | null;
  readonly multiple_profiles: boolean;
  readonly use_custom_all_reduce: boolean;
  readonly hidden_size: number;
}

interface Golden {
  readonly name: string;
  readonly args: Args;
  readonly tp: number;
  readonly pp: number;
  readonly rank: number;
  readonly inputs: readonly {
    readonly name: string;
    readonly shape: readonly number[];
    readonly profiles: readonly ProfileRange[] | "static";
  }[];
}

const all: Record<string, Omit<Golden, "name">> = present ? JSON.parse(readFileSync(file, "utf8")) : {};
/** The others are encoders and decoders of pairs, and the table of token splits. */
const decoders: readonly Golden[] = Object.entries(all)
  .filter(([, golden]) => golden.args?.num_kv_heads !== undefined)
  .map(([name, golden]) => ({ name, ...golden }));

function trtllmArgs({ args, tp, pp, rank }: Golden): TrtllmDecoder {
  const stage = Math.floor(rank / tp);
  return {
    maxBatchSize: args.max_batch_size,
    maxBeamWidth: args.max_beam_width,
    maxInputLen: args.max_input_len,
    maxSeqLen: args.max_seq_len,
    maxNumTokens: args.max_num_tokens ?? 0,
    optNumTokens: args.opt_num_tokens ?? 0,
    promptRows: args.prompt_embedding_table_size,
    hiddenSize: args.hidden_size,
    kvHeads: Math.ceil(args.num_kv_heads / tp),
    headSize: args.head_size,
    layers: args.num_layers / pp,
    isFirst: stage === 0,
    isLast: stage === pp - 1,
    tpSize: tp,
    removeInputPadding: args.remove_input_padding,
    gptAttentionPlugin: args.use_gpt_attention_plugin,
    gemmPlugin: args.use_gemm_plugin,
    pagedKvCache: args.paged_kv_cache,
    tokensPerBlock: args.tokens_per_block,
    multipleProfiles: args.multiple_profiles,
    customAllReduce: args.use_custom_all_reduce,
    loraModules: args.lora_target_modules ?? [],
  };
}

/** Our profiles for a golden's limits; layers are cut to 2, since the cache of every layer has one range. */
function ours({ args }: Golden): Record<string, Readonly<Record<string, ProfileRange>>> {
  const spec = llava({
    hiddenSize: args.hidden_size,
    heads: 32,
    kvHeads: args.num_kv_heads,
    headDim: args.head_size,
    layers: 2,
  });
  const graph = decoderGraph(spec, {
    weightDtype: "float16",
    computeDtype: "float16",
    tpSize: 1,
    ppSize: 1,
    rank: 0,
    kvCache: { type: "continuous" },
    dialect: MODERN,
    promptTable: true,
  });
  const profiles = decoderProfiles(graph, {
    maxBatchSize: args.max_batch_size,
    maxBeamWidth: args.max_beam_width,
    maxInputLen: args.max_input_len,
    maxSeqLen: args.max_seq_len,
    promptRows: args.prompt_embedding_table_size,
  });
  return Object.fromEntries(profiles.map(({ name, shapes }) => [name, shapes]));
}

function golden(of: Golden, input: string): readonly ProfileRange[] {
  const found = of.inputs.find(({ name }) => name === input)?.profiles;
  return found === undefined || found === "static" ? [] : found;
}

describe.skipIf(!present)(
  `profiles of TensorRT-LLM v0.11${present ? "" : " (skipped: there is no shared/goldens beside the checkout)"}`,
  () => {
    it("has the decoder configurations to compare with", () => {
      expect(decoders.length).toBe(13);
    });

    it.each(decoders)("$name: --strict_profiles gives every input its range in every profile", one => {
      const got = new Map(trtllmDecoderInputs(trtllmArgs(one)).map(input => [input.name, input.profiles]));
      expect([...got.keys()].sort()).toEqual(one.inputs.map(({ name }) => name).sort());
      for (const { name, shape, profiles } of one.inputs) {
        const fixed = [{ min: shape, opt: shape, max: shape }];
        // An input of fixed shape is recorded once, whatever the number of profiles.
        const isFixed = shape.every(size => size >= 0);
        const mine = isFixed ? got.get(name)?.slice(0, 1) : got.get(name);
        expect(mine, name).toEqual(profiles === "static" ? fixed : profiles);
      }
    });

    it("cuts token ranges alike", () => {
      const splits = all.split_num_tokens_range as unknown as Record<string, readonly number[] | readonly number[][]>;
      for (const [max, ranges] of Object.entries(splits)) {
        const list = (Array.isArray(ranges[0]) ? ranges : [ranges]) as readonly number[][];
        expect(
          splitTokens(Number(max)).map(({ min, opt, max: most }) => [min, opt, most]),
          max,
        ).toEqual(list);
      }
    });

    it("are ours for the graph without plugins, input by input: ids, positions, mask and cache", () => {
      const one = decoders.find(({ name }) => name === "llama7b_no_gpt_plugin") as Golden;
      const { context, generation } = ours(one);
      for (const name of ["input_ids", "position_ids", "last_token_ids", "attention_mask"])
        expect([context?.[name], generation?.[name]], name).toEqual(golden(one, name));
      // Theirs holds key and value in one tensor: axis 1.
      const past = golden(one, "past_key_value_0").map(({ min, opt, max }) => ({
        min: min.toSpliced(1, 1),
        opt: opt.toSpliced(1, 1),
        max: max.toSpliced(1, 1),
      }));
      expect([context?.past_key_0, generation?.past_key_0]).toEqual(past);
    });

    it("are ours for padded inputs with a prompt table", () => {
      const one = decoders.find(({ name }) => name === "llama7b_padded_nogemm") as Golden;
      const { context, generation } = ours(one);
      for (const name of ["input_ids", "position_ids", "last_token_ids", "tasks", "prompt_embedding_table"])
        expect([context?.[name], generation?.[name]], name).toEqual(golden(one, name));
      expect([context?.prompt_vocab_size]).toEqual(golden(one, "prompt_vocab_size"));
    });

    const multimodal = decoders.filter(({ args }) => args.prompt_embedding_table_size > 0);
    it.each(multimodal)("$name: the prompt table is (1, rows / 2, rows) in both our profiles", one => {
      const [table] = golden(one, "prompt_embedding_table");
      const { context, generation } = ours(one);
      expect(context?.prompt_embedding_table).toEqual(table);
      expect(generation?.prompt_embedding_table).toEqual(table);
    });

    const plugins = decoders.filter(({ pp, rank, tp, args }) => rank >= tp * (pp - 1) && args.use_gpt_attention_plugin);
    it.each(plugins)("$name: the batch is (1, half, all) of sequences × beams in generation", one => {
      expect(ours(one).generation?.last_token_ids).toEqual(golden(one, "last_token_ids")[0]);
    });
  },
);

import { throwIfAny } from "../diagnostics/index.ts";
import type { Attended } from "./calls.ts";
import type { RequestSize } from "./decoder-limits.ts";
import { pairTokens } from "./generation-config.ts";
import { pickRows } from "./kv-cache.ts";
import { type Feeds, fromFloat32, type OrtGraph, type OrtOptions, type Tensor } from "./ort.ts";
import { checkProfiles } from "./profiles.ts";
import { type Features, tableFeeds } from "./prompt-table.ts";
import { openRanks } from "./ranks/open.ts";
import type { RunnableEngine } from "./runnable.ts";

/** The half of an encoder-decoder that runs once a request: prompt (or image features) → keys and values to attend to. */
export interface Encoder {
  readonly startToken: number;
  /** @throws MmtrtError RUN010 for a request that no profile takes. */
  check(size: RequestSize, at: string): void;
  /** Prompts are padded on the right. Without a text encoder `features` are attended to, as many rows for each prompt. */
  run(prompts: readonly (readonly number[])[], features: Features | undefined): Promise<Attended>;
  close(): Promise<void>;
}

/** The two graphs of an encoder; without a text encoder only the second. */
export interface EncoderGraphs {
  readonly encoder: OrtGraph | undefined;
  readonly cross: OrtGraph;
}

/** Opens `encoder/` where there is one, and the `decoder/cross_rank….onnx`. Errors: RUN011. */
export async function openEncoder(engine: RunnableEngine, options: OrtOptions): Promise<Encoder> {
  const { encoderParts, crossParts, ranks } = engine;
  if (crossParts.length === 0) throw new Error("an encoder-decoder has a graph of cross keys and values");
  const encoder = encoderParts.length === 0 ? undefined : await openRanks(encoderParts, ranks, options);
  return encoderOf(engine, { encoder, cross: await openRanks(crossParts, ranks, options) });
}

/** The same over graphs that are open already, which it closes. */
export async function encoderOf(engine: RunnableEngine, { encoder, cross }: EncoderGraphs): Promise<Encoder> {
  const tokens = await pairTokens(engine);
  return {
    startToken: tokens?.start ?? 0,
    check: (size, at) => checkEncoder(engine, size, at),
    async run(prompts, features) {
      const { output, mask } =
        encoder === undefined
          ? imageRows(cross, engine, prompts.length, features)
          : await encodePrompts(encoder, engine, prompts, features);
      return attendedRows(cross, await cross.run({ encoder_output: output }), mask);
    },
    async close() {
      await encoder?.close();
      await cross.close();
    },
  };
}

/** @throws MmtrtError RUN010 for a request that no profile of the encoder's graphs takes. */
export function checkEncoder(
  { encoder, llm, manifest }: Pick<RunnableEngine, "encoder" | "llm" | "manifest">,
  size: RequestSize,
  at: string,
): void {
  const { batch, promptTokens, tableRows } = size;
  const cross = llm.cross;
  const hidden = cross?.io.find(({ name }) => name === "encoder_output")?.shape[2] ?? 1;
  const width = encoder?.io.find(({ name }) => name === "prompt_embedding_table")?.shape[1];
  const shapes = {
    input_ids: [batch, promptTokens],
    attention_mask: [batch, promptTokens],
    ...(width !== undefined && { prompt_embedding_table: [Math.max(1, tableRows), width], tasks: [batch, 1] }),
  };
  const rows = manifest.model.encoder_decoder?.has_text_encoder === false;
  throwIfAny(
    rows || encoder === undefined
      ? checkProfiles(cross?.profiles ?? [], cross?.io ?? [], { encoder_output: [batch, promptTokens, hidden] }, at)
      : checkProfiles(encoder.profiles, encoder.io, shapes, at),
  );
}

interface Encoded {
  readonly output: Tensor;
  /** 1 = token, 0 = padding, [batch, encoder_seq]. */
  readonly mask: Tensor;
}

async function encodePrompts(
  graph: OrtGraph,
  { encoder, manifest }: RunnableEngine,
  prompts: readonly (readonly number[])[],
  features: Features | undefined,
): Promise<Encoded> {
  const dims = [prompts.length, Math.max(...prompts.map(prompt => prompt.length))] as const;
  const [ids, mask] = [new Int32Array(dims[0] * dims[1]), new Int32Array(dims[0] * dims[1])];
  for (const [row, prompt] of prompts.entries()) {
    ids.set(prompt, row * dims[1]);
    mask.fill(1, row * dims[1], row * dims[1] + prompt.length);
  }
  const attention_mask = graph.tensor("int32", mask, dims);
  const table = tableFeeds(graph, encoder?.io ?? [], manifest.model.num_visual_features, features);
  const feeds = { input_ids: graph.tensor("int32", ids, dims), attention_mask, ...table(dims[0]) };
  const { encoder_output: output } = await graph.run(feeds);
  return { output: output as Tensor, mask: attention_mask };
}

/** The image encoder's features as an encoder's output: [images, features of an image, hidden]. */
function imageRows(graph: OrtGraph, { llm }: RunnableEngine, batch: number, features: Features | undefined): Encoded {
  if (features === undefined || features.rows % batch !== 0)
    throw new Error("the decoder attends to the features of one image for each row");
  const dims = [batch, features.rows / batch] as const;
  const dtype = llm.cross?.io.find(({ name }) => name === "encoder_output")?.dtype ?? "float32";
  return {
    output: fromFloat32(graph, dtype, features.values, [...dims, features.hidden]),
    mask: graph.tensor("int32", new Int32Array(dims[0] * dims[1]).fill(1), dims),
  };
}

function attendedRows(graph: OrtGraph, cross: Feeds, mask: Tensor): Attended {
  let tensors: Feeds = { ...cross, encoder_attention_mask: mask };
  return {
    feeds: () => tensors,
    select(rows) {
      tensors = Object.fromEntries(
        Object.entries(tensors).map(([name, tensor]) => [name, pickRows(graph, tensor, rows)]),
      );
    },
  };
}

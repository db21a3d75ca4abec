import { Decoder } from "./decoder.ts";
import type { Decoding } from "./decoding.ts";
import { openEncoder } from "./encoder.ts";
import { type AnswerSession, generateIn, takesNoImages } from "./generation.ts";
import type { PixelValues } from "./image/preprocess.ts";
import { NO_ADAPTER, openLoraBank } from "./lora/bank.ts";
import { type OrtGraph, type OrtOptions, openGraph } from "./ort.ts";
import type { Features } from "./prompt-table.ts";
import { openRanks } from "./ranks/open.ts";
import { hashOfImage } from "./reuse/keys.ts";
import { openReuse } from "./reuse/open.ts";
import { decoderOptions, openRunnable } from "./runnable.ts";
import { encodeImages, type OtherEncoder } from "./visual/encode.ts";
import { encodePacked } from "./visual/packed.ts";

export interface SessionOptions extends OrtOptions {
  /** Bytes of keys, values and visual features that are kept for requests which begin alike; nothing is kept without it. */
  readonly reuseBytes?: number;
  /** Adapters in place of those that were built in, by task uid: directories as PEFT saves them. */
  readonly loraDirs?: readonly string[] | undefined;
  /** Processes that encode their share of each request's images. */
  readonly otherEncoders?: readonly OtherEncoder[];
}

/** An engine ready to answer. Prints nothing; keeps nothing between requests but what `reuseBytes` asks for. */
export interface Session extends AnswerSession {
  /**
   * Features of the images, in order, run in as many batches as the visual engine's profile asks for; by another copy
   * of the graph if one is given.
   * @throws MmtrtError RUN010 when a picture's size is not the engine's; RUN015 for a text-only model.
   */
  encodeImages(images: readonly PixelValues[], graph?: OrtGraph): Promise<Features>;
  /**
   * Runs the prompts, ids ≥ vocab_size being rows of `features`. `tasks` are each row's adapter, −1 and absent being none.
   * Call `check` first.
   */
  prefill(prompts: readonly (readonly number[])[], features?: Features, tasks?: readonly number[]): Promise<Decoding>;
}

/** Opens another graph in the decoder's place, with the same inputs and outputs and more of them. */
export type OpenDecoder = (onnx: string, options: OrtOptions) => Promise<OrtGraph>;

/** Loads the graphs of an engine directory into ONNX Runtime. Errors: BLD002, BLD003, RUN008, RUN011, RUN032, RUN033. */
export async function openSession(
  dir: string,
  options: SessionOptions,
  openDecoder: OpenDecoder = openGraph,
): Promise<Session> {
  const engine = await openRunnable(dir);
  const llm = await openRanks(engine.llmParts, engine.ranks, decoderOptions(engine.llm, options), openDecoder);
  const visual = engine.visualPart && (await openGraph(engine.visualPart.onnx, options));
  const reuse = options.reuseBytes === undefined ? undefined : openReuse(engine, llm, options.reuseBytes);
  const decoder = new Decoder(llm, engine.llm, engine.manifest.model.num_visual_features, reuse?.prefixes);
  const encoder = engine.manifest.model.encoder_decoder && (await openEncoder(engine, options));
  const bank = await openLoraBank(llm, engine.llm, { engineDir: dir, dirs: options.loraDirs, at: "--lora_dir" });
  const session: Session = {
    engine,
    adapters: bank?.names,
    get reuse() {
      return reuse?.prefixes.stats;
    },
    ...(encoder && { startToken: encoder.startToken }),
    async encodeImages(images, graph = visual) {
      const { visual: config } = engine;
      if (graph === undefined || config === undefined) return takesNoImages(dir);
      const others = graph === visual ? options.otherEncoders : undefined;
      const { visual_tokens: rule } = engine.manifest.model;
      const encode = (some: readonly PixelValues[]): Promise<Features> =>
        rule?.kind === "patches"
          ? encodePacked(graph, config, rule, some)
          : encodeImages(graph, config, some, { rule, ...(others && { others }) });
      if (reuse === undefined || graph !== visual) return encode(images);
      const hashes = images.map(hashOfImage);
      return reuse.features.features(hashes, image => encode(images.slice(image, image + 1)));
    },
    check(size, at) {
      encoder?.check(size, at);
      decoder.check(encoder === undefined ? size : { ...size, promptTokens: 1, tableRows: 0 }, at);
    },
    longestAnswer: promptTokens => decoder.longestAnswer(encoder === undefined ? promptTokens : 1),
    async prefill(prompts, features, tasks = prompts.map(() => NO_ADAPTER)) {
      if (encoder === undefined) return decoder.prefill(prompts, features, bank?.rows(tasks));
      const attended = await encoder.run(prompts, features);
      return decoder.prefill(
        prompts.map(() => [encoder.startToken]),
        undefined,
        attended,
      );
    },
    async close() {
      await llm.close();
      await encoder?.close();
      await visual?.close();
    },
    generate: request => generateIn(session, request),
  };
  return session;
}

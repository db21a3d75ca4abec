import type { Header, SentTensor } from "../../toolchain/runner/frames.ts";
import type { GenerateOptions } from "../generate/options.ts";
import { type GenerationRequest, takesNoImages } from "../generation.ts";
import type { RunnableEngine } from "../runnable.ts";
import { tilesOf } from "../visual/encode.ts";

/** The message that asks for answers. */
export function requestMessage(id: number, { prompts, seen, tasks, options, hooks }: GenerationRequest): Header {
  return {
    kind: "generate",
    id,
    prompts,
    seen,
    tasks,
    options: optionsMessage(options),
    // Beams are asked about before they end; other answers are ended as their text is found complete.
    watched: hooks.endsAnswer !== undefined && options.numBeams > 1,
  };
}

function optionsMessage(options: GenerateOptions): Readonly<Record<string, unknown>> {
  return {
    max_new_tokens: options.maxNewTokens,
    min_new_tokens: options.minNewTokens,
    num_beams: options.numBeams,
    top_k: options.topK,
    top_p: options.topP,
    temperature: options.temperature,
    repetition_penalty: options.repetitionPenalty,
    no_repeat_ngram_size: options.noRepeatNgramSize,
    length_penalty: options.lengthPenalty,
    early_stopping: options.earlyStopping,
    seed: options.seed,
    eos_token_ids: options.eosTokenIds,
    forced_bos_token_id: options.forcedBosTokenId ?? null,
    forced_eos_token_id: options.forcedEosTokenId ?? null,
  };
}

/** Pictures, or their tiles, one after the other. */
export function pixelTensor({ visual, dir }: RunnableEngine, { pixels }: GenerationRequest): readonly SentTensor[] {
  if (pixels.length === 0) return [];
  if (visual === undefined) return takesNoImages(dir);
  const tiles = pixels.flatMap(image => tilesOf(image, visual));
  const [channels, height, width] = visual.image_shape;
  const all = new Float32Array(tiles.length * channels * height * width);
  for (const [i, tile] of tiles.entries()) all.set(tile, i * tile.length);
  const bytes = new Uint8Array(all.buffer);
  return [{ name: "pixels", dtype: "float32", shape: [tiles.length, channels, height, width], bytes }];
}

import { existsSync } from "node:fs";
import { join } from "node:path";
import type { EngineDir } from "../formats/engine-dir.ts";
import { type JsonObject, readJsonObject } from "../formats/json.ts";

/** Tokens that begin and end an encoder-decoder's answers. */
export interface PairTokens {
  readonly start: number;
  readonly forcedBosTokenId?: number;
  readonly forcedEosTokenId?: number;
}

/** generation_config.json of a directory; nothing where there is none. Errors: CKP008. */
export async function readGenerationConfig(dir: string | undefined): Promise<JsonObject> {
  const file = dir && join(dir, "generation_config.json");
  return file !== undefined && existsSync(file) ? readJsonObject(file) : {};
}

/** generation_config.json's where it names them, else config.json's; undefined for a decoder-only model. */
export async function pairTokens({ manifest, tokenizerDir }: EngineDir): Promise<PairTokens | undefined> {
  const own = manifest.model.encoder_decoder;
  if (own === undefined) return undefined;
  const settings = await readGenerationConfig(tokenizerDir);
  const id = (key: "decoder_start_token_id" | "forced_bos_token_id" | "forced_eos_token_id"): number | undefined => {
    const value = settings[key];
    const [first] = Array.isArray(value) ? value : [value];
    const known =
      Number.isSafeInteger(first) && (first as number) >= 0 && (first as number) < manifest.model.vocab_size;
    return known ? (first as number) : (own[key] ?? undefined);
  };
  const [bos, eos] = [id("forced_bos_token_id"), id("forced_eos_token_id")];
  return {
    start: id("decoder_start_token_id") ?? own.decoder_start_token_id,
    ...(bos !== undefined && { forcedBosTokenId: bos }),
    ...(eos !== undefined && { forcedEosTokenId: eos }),
  };
}

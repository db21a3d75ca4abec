import { readdirSync } from "node:fs";
import { describeParity, FIXTURES } from "../support/describe-parity.ts";

/** Made by test/reference/make_decoder_fixtures.py. */
for (const name of readdirSync(FIXTURES)) {
  if (/^(opt|gpt2|qwen2|mistral|llama_dynamic)/.test(name)) describeParity(name);
}

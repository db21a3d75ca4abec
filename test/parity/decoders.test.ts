import { readdirSync } from "node:fs";
import { describeParity, FIXTURES } from "../support/describe-parity.ts";

/** Made by test/reference/make_decoder_fixtures.py. */
for (const name of readdirSync(FIXTURES)) {
  if (/^(opt|gpt2_|qwen[23](?!.*_vl)|mistral|llama_dynamic|gemma|smollm3|phi3|internlm2)/.test(name))
    describeParity(name);
}

import { describeParity } from "../support/describe-parity.ts";

/** Made by test/reference/make_parity_fixtures.py. */
const TEXT = ["llama_gqa", "llama_tied_bias", "llama3_rope"];
const MULTIMODAL = ["llava_mqa", "llava_full", "llava_wide", "llava_deep"];
for (const name of [...TEXT, ...MULTIMODAL]) describeParity(name);

import { describeParity } from "../support/describe-parity.ts";

/** Made by test/reference/make_gpt2_multimodal_fixtures.py. */
for (const name of ["gpt2mm_clip", "gpt2mm_queries"]) describeParity(name);

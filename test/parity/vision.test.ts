import { describeParity } from "../support/describe-parity.ts";

/** Made by test/reference/make_vision_fixtures.py. */
for (const name of ["blip2_opt", "blip2_sparse", "llava_siglip", "llava_siglip_edge", "llava_qwen2", "llava_mistral"])
  describeParity(name);

import { describeParity } from "../support/describe-parity.ts";

/** Made by test/reference/make_vision_fixtures.py. */
for (const name of ["blip2_opt", "blip2_sparse", "llava_siglip"]) describeParity(name);

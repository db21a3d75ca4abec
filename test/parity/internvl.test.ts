import { describeParity } from "../support/describe-parity.ts";

/** Made by test/reference/make_internvl_fixtures.py: an image of several tiles, and one prompt of the batch without any. */
for (const name of ["internvl_qwen2", "internvl_rms"]) describeParity(name);

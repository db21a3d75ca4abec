import { describeParity } from "../support/describe-parity.ts";

/** Made by test/reference/make_llava_llama_fixtures.py: several pictures a prompt in the batch of three. */
for (const name of ["vila_linear", "vila_downsample", "vila_mlp", "llava_original", "llava_original_linear"])
  describeParity(name);

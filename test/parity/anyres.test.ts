import { describeParity } from "../support/describe-parity.ts";

/** Made by test/reference/make_anyres_model_fixtures.py: images of several sizes, several of a prompt, and prompts without any in one batch. */
for (const name of ["llava_next_mistral", "llava_next_siglip", "onevision_qwen2", "onevision_odd"])
  describeParity(name);

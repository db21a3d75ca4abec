import { describeParity } from "../support/describe-parity.ts";

for (const name of ["idefics3_gqa", "smolvlm_tied"]) describeParity(name);

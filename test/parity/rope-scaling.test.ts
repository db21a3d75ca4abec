import { readdirSync } from "node:fs";
import { describeParity, FIXTURES } from "../support/describe-parity.ts";

/** Made by test/reference/make_rope_fixtures.py: answers go on past the length that each was first trained for. */
for (const name of readdirSync(FIXTURES)) if (name.startsWith("rope_")) describeParity(name);

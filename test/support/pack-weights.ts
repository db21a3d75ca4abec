// npx tsx test/support/pack-weights.ts MODEL_DIR: writes model.safetensors.packed beside every model.safetensors in it.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pack } from "./packed-weights.ts";

for (const folder of process.argv.slice(2))
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" }))
    if (name.endsWith("model.safetensors")) {
      const file = join(folder, name);
      writeFileSync(`${file}.packed`, pack(readFileSync(file)));
    }

import { rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { type Figure, round, shown } from "../support/figures.ts";
import { BIN, type Place } from "../support/place.ts";
import { usageOf } from "../support/usage.ts";

const PYTHON = "safetensors + torch";
/** Layers of LLaMA-2-7B, 0.4 GB each, and what of it is converted. */
const SIZES = [1, 8, 16, 32];
/** A converter that holds the model is not tried where it would take what the machine needs. */
const MOST_IN_PYTHON = 8;

/** Largest resident set of a conversion to two ranks, over the size of the checkpoint; models are made and removed one by one. */
export async function memory({ dir, python }: Place): Promise<readonly Figure[]> {
  return SIZES.map(layers => {
    const model = join(dir, "sized");
    const output = join(dir, "sized-out");
    const clean = (path: string): void => rmSync(path, { recursive: true, force: true });
    clean(model);
    clean(output);
    const whole = ["--max_shard_size", "20000000000", "--layers", String(layers)];
    usageOf({ argv: [process.execPath, BIN, "synth", model, "--preset", "llama-2-7b", ...whole, "--quiet"] });
    const bytes = statSync(join(model, "model.safetensors")).size;
    const convert: [string, ...string[]] = [process.execPath, BIN, "convert", model, "--output_dir", output];
    const own = usageOf({ argv: [...convert, "--tp_size", "2", "--quiet"] });
    clean(output);
    const script = join(import.meta.dirname, "../peers/minimal_convert.py");
    const theirs =
      layers <= MOST_IN_PYTHON ? usageOf({ argv: [python(PYTHON), script, model, output, "2"] }) : undefined;
    clean(output);
    clean(model);
    const values = { mmtrt: round(own.rss / 1e6), ...(theirs && { [PYTHON]: round(theirs.rss / 1e6) }) };
    const note = `wanted: ≤ 200 MB; ${round(bytes / 1e9)} GB`;
    return shown({ case: `LLaMA-2-7B, ${layers} layers`, unit: "MB", runs: 1, values, note });
  });
}

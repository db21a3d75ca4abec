import { join } from "node:path";
import { type Figure, shown } from "../support/figures.ts";
import { BIN, type Place } from "../support/place.ts";
import { inTurns, usageFigure } from "../support/side-by-side.ts";
import { type Usage, usageOf } from "../support/usage.ts";

const THREADS = "2";
const PEER = "onnxruntime-genai";
const TEXT = "Explain in two sentences why the sky is blue during the day and red at sunset.";

/** From the start of a process to its end after the first token of SmolLM2-135M's answer: load, tokenizer, prefill. */
export async function firstToken(place: Place): Promise<readonly Figure[]> {
  const { dir, python, runs, wants } = place;
  return ["smollm2-fp32", "smollm2-int4"]
    .filter(name => wants(name))
    .map(name => {
      const script = join(import.meta.dirname, "../peers/genai_first_token.py");
      const own = ["run", "--engine_dir", join(dir, `e-${name}`), "--input_text", TEXT, "--prompt_format", "raw"];
      const programs = new Map<string, () => Usage>([
        [
          "mmtrt",
          () => usageOf({ argv: [process.execPath, BIN, ...own, "--max_new_tokens", "1", "--threads", THREADS] }),
        ],
        [PEER, () => usageOf({ argv: [python(PEER), script, join(dir, `genai-${name}`), THREADS, TEXT] })],
      ]);
      const limit = { to: PEER, wanted: "≤ 1.0" };
      return shown(usageFigure(name.replace("-", " "), place, inTurns(programs, runs), limit));
    });
}

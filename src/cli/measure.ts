import { calibrate } from "../build/calibrate.ts";
import type { ConvertRequest } from "../checkpoint/plan.ts";
import type { QuantSpec } from "../tensor/index.ts";
import type { Ui } from "./ui.ts";

/** Rows of activations that AWQ's search keeps of a sample, and the samples that TensorRT-LLM's takes at most. */
const AWQ = { rows: 4, atMost: 32 };

/** Runs the calibration that a format needs, with a bar; gives the file of ranges. */
export async function measureFor(request: ConvertRequest, { quantAlgo }: QuantSpec, ui: Ui): Promise<string> {
  const needs = quantAlgo === "W4A16_AWQ" ? AWQ : { rows: 0 };
  const file = await calibrate(request, {
    ...needs,
    threads: 0,
    onStart: dir => ui.info(`measuring activations in ${dir}`, { calibration_dir: dir }),
    onProgress: (done, total) =>
      ui.progress({ id: "calibrate", label: "measuring activations", done, total, unit: "samples" }),
  });
  ui.info(`ranges: ${file} (--act_ranges takes them for another format of this model)`, { act_ranges: file });
  return file;
}

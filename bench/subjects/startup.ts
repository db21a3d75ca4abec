import { rmSync } from "node:fs";
import { join } from "node:path";
import { type Figure, shown } from "../support/figures.ts";
import { BIN, type Place } from "../support/place.ts";
import { inTurns, usageFigure } from "../support/side-by-side.ts";
import { type Command, type Usage, usageOf } from "../support/usage.ts";

const NODE = "node -e 0";
const MODEL = join(import.meta.dirname, "../../test/fixtures/models/llava-shapes");
/** Times of a few dozen milliseconds want more rounds than the minutes of others. */
const ROUNDS = 6;

/** What a user waits for before anything happens: help, and options that are refused. */
export async function startup(place: Place): Promise<readonly Figure[]> {
  const { dir, python, runs, wants } = place;
  const checkpoint = join(dir, "startup-checkpoint");
  rmSync(checkpoint, { recursive: true, force: true });
  usageOf({ argv: [process.execPath, BIN, "convert", MODEL, "--output_dir", checkpoint, "--quiet"] });
  const mmtrt = (argv: readonly string[], status: number): Command => ({
    argv: [process.execPath, BIN, ...argv],
    status,
  });
  const build = ["build", "--checkpoint_dir", checkpoint, "--output_dir", join(dir, "startup-engines")];
  const cases: readonly (readonly [string, Command, string])[] = [
    ["mmtrt --help", mmtrt(["--help"], 0), "≤ 1.4"],
    ["mmtrt build --help", mmtrt(["build", "--help"], 0), "≤ 1.4"],
    ["build, flags wrong", mmtrt(["build", "--max_batchsize", "4", "--max_input_len", "none"], 2), "≤ 2"],
    ["build, no checkpoint", mmtrt(["build", "--checkpoint_dir", "absent", "--output_dir", "absent-too"], 1), "≤ 2"],
    ["build, a rule broken", mmtrt([...build, "--max_multimodal_len", "1"], 1), "≤ 2"],
  ];
  const figures = cases
    .filter(([name]) => wants(name))
    .map(([name, command, wanted]) => {
      const programs = new Map<string, () => Usage>([
        ["mmtrt", () => usageOf(command)],
        [NODE, () => usageOf({ argv: [process.execPath, "-e", "0"] })],
      ]);
      return shown(usageFigure(name, place, inTurns(programs, runs * ROUNDS), { to: NODE, wanted }, "ms"));
    });
  // Its own help fails on a percent sign, after it has loaded everything.
  const builder: Command["argv"] = [python("onnxruntime-genai"), "-m", "onnxruntime_genai.models.builder", "--help"];
  const help = new Map<string, () => Usage>([
    ["mmtrt", () => usageOf(mmtrt(["--help"], 0))],
    ["onnxruntime-genai", () => usageOf({ argv: builder, status: 1 })],
    [
      "optimum-onnx",
      () => usageOf({ argv: [join(python("optimum-onnx"), "../optimum-cli"), "export", "onnx", "--help"] }),
    ],
    [
      "TensorRT-Edge-LLM",
      () => usageOf({ argv: [join(python("TensorRT-Edge-LLM"), "../tensorrt-edgellm-export"), "--help"] }),
    ],
  ]);
  if (wants("--help of each"))
    figures.push(shown(usageFigure("--help of each", place, inTurns(help, 1), undefined, "ms")));
  return figures;
}

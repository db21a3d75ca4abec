import { rmSync } from "node:fs";
import { join } from "node:path";
import { sparseCheckpoint } from "../../test/support/sparse-checkpoint.ts";
import { type Figure, shown } from "../support/figures.ts";
import { BIN, type Place } from "../support/place.ts";
import { inTurns, usageFigure } from "../support/side-by-side.ts";
import { type Usage, usageOf } from "../support/usage.ts";

const NODE = "node -e 0";

/**
 * Engine directories for ONNX Runtime from checkpoints of published shapes whose weights are holes in files: a build never reads
 * them, so the time is that of graphs, rules and configs, process start included.
 */
export async function emission(place: Place): Promise<readonly Figure[]> {
  const { dir, runs, wants } = place;
  return ["llama-1.1b", "llama-2-7b", "llava-1.5-7b"]
    .filter(preset => wants(preset))
    .map(preset => {
      const root = join(dir, `sparse-${preset}`);
      rmSync(root, { recursive: true, force: true });
      const checkpoint = sparseCheckpoint(root, preset);
      const output = join(dir, "emitted");
      const build = (): Usage => {
        rmSync(output, { recursive: true, force: true });
        return usageOf({
          argv: [process.execPath, BIN, "build", "--checkpoint_dir", checkpoint, "--output_dir", output, "--quiet"],
        });
      };
      const programs = new Map<string, () => Usage>([
        ["mmtrt", build],
        [NODE, () => usageOf({ argv: [process.execPath, "-e", "0"] })],
      ]);
      const figure = shown({
        ...usageFigure(`${preset}, all graphs`, place, inTurns(programs, runs)),
        note: "wanted: ≤ 0.3 s",
      });
      rmSync(output, { recursive: true, force: true });
      rmSync(root, { recursive: true, force: true });
      return figure;
    });
}

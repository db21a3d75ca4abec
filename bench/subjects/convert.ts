import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Figure } from "../support/figures.ts";
import { shown } from "../support/figures.ts";
import type { Place } from "../support/place.ts";
import { BIN } from "../support/place.ts";
import { inTurns, usageFigure } from "../support/side-by-side.ts";
import { type Usage, usageOf } from "../support/usage.ts";

const COPY = "cp + fsync";
const PLAIN = "float16 → float16";
const PYTHON = "safetensors + torch";
const WEIGHT_ONLY = ["--use_weight_only"];
const INT4 = [...WEIGHT_ONLY, "--weight_only_precision", "int4"];

interface Job {
  readonly name: string;
  readonly model: string;
  readonly argv: readonly string[];
  /** What a converter in Python does for the same; undefined where it has no such thing. */
  readonly python?: readonly [tp: string, dtype?: string];
  readonly limit: { readonly to: string; readonly wanted: string };
}

const JOBS: readonly Job[] = [
  { name: PLAIN, model: "llama-1.1b", argv: [], python: ["1"], limit: { to: COPY, wanted: "≤ 1.15" } },
  ...(["2", "4"] as const).map(
    (tp): Job => ({
      name: `${PLAIN}, tp_size ${tp}`,
      model: "llama-1.1b",
      argv: ["--tp_size", tp],
      python: [tp],
      limit: { to: COPY, wanted: "≤ 1.4" },
    }),
  ),
  {
    name: "bfloat16 → float16",
    model: "llama-1.1b-bf16",
    argv: ["--dtype", "float16"],
    python: ["1", "float16"],
    limit: { to: COPY, wanted: "≤ 1.6" },
  },
  { name: ".bin, float16", model: "llama-1.1b-bin", argv: [], python: ["1"], limit: { to: COPY, wanted: "≤ 1.5" } },
  ...[
    ["INT8", WEIGHT_ONLY] as const,
    ["INT4", INT4] as const,
    ["INT4, groups of 128", [...INT4, "--group_size", "128"]] as const,
  ].map(
    ([name, argv]): Job => ({
      name: `float16 → ${name}`,
      model: "llama-1.1b",
      argv,
      limit: { to: PLAIN, wanted: "≤ 2" },
    }),
  ),
];

/** Conversions of a LLaMA of 1.1 B (2.2 GB), ours synced as `cp` is, in turns with it and with the least that Python can do. */
export async function convert(place: Place): Promise<readonly Figure[]> {
  const { dir, python, runs, wants } = place;
  const figures: Figure[] = [];
  const output = join(dir, "converted");
  const fresh = (run: () => Usage): Usage => {
    rmSync(output, { recursive: true, force: true });
    const usage = run();
    rmSync(output, { recursive: true, force: true });
    return usage;
  };
  const own = ({ model, argv }: Job): Usage =>
    fresh(() =>
      usageOf({
        argv: [process.execPath, BIN, "convert", join(dir, model), "--output_dir", output, ...argv, "--quiet"],
      }),
    );
  for (const job of JOBS) {
    if (!wants(job.name)) continue;
    const source = join(dir, job.model);
    const weights = ["model.safetensors", "pytorch_model.bin"].map(name => join(source, name)).find(existsSync);
    if (weights === undefined) throw new Error(`${source} holds no weights: see bench/README.md`);
    const copied = join(dir, "copied");
    const programs = new Map<string, () => Usage>([["mmtrt", () => own(job)]]);
    if (job.limit.to === PLAIN) programs.set(PLAIN, () => own(JOBS[0] as Job));
    else
      programs.set(COPY, () => {
        const usage = usageOf({ argv: ["sh", "-c", 'cp "$0" "$1" && sync "$1"', weights, copied] });
        rmSync(copied);
        return usage;
      });
    if (job.python !== undefined) {
      const script = join(import.meta.dirname, "../peers/minimal_convert.py");
      const argv = job.python as readonly string[];
      programs.set(PYTHON, () => fresh(() => usageOf({ argv: [python(PYTHON), script, source, output, ...argv] })));
    }
    figures.push(shown(usageFigure(job.name, place, inTurns(programs, runs), job.limit)));
  }
  return figures;
}

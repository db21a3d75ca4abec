// What a user waits for before anything happens: `npx tsx bench/cli-startup.bench.ts [runs]` after `npm run build`.
// Exits 1 when a limit is missed. Limits: help and a failing validation within 2 × the processor time of `node -e 0`, which
// other work on the machine stretches less than wall time, and 90 MB.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { formatTable } from "../src/cli/ui/table.ts";
import { type Program, timePrograms } from "./support/processes.ts";

const BIN = fileURLToPath(new URL("../bin/mmtrt.js", import.meta.url));
const MODEL = fileURLToPath(new URL("../test/fixtures/models/llava-shapes", import.meta.url));
const MAX_RATIO = 2;
const MAX_RSS = 90e6;
const DEFAULT_RUNS = 31;

const work = mkdtempSync(join(tmpdir(), "mmtrt-startup-"));
process.once("exit", () => rmSync(work, { recursive: true, force: true }));
const checkpoint = join(work, "checkpoint");
execFileSync(process.execPath, [BIN, "convert", MODEL, "--output_dir", checkpoint, "--quiet"]);

const baseline: Program = { name: "node -e 0", argv: ["-e", "0"], exitCode: 0 };
const programs: readonly Program[] = [
  baseline,
  { name: "mmtrt --help", argv: [BIN, "--help"], exitCode: 0 },
  { name: "mmtrt build --help", argv: [BIN, "build", "--help"], exitCode: 0 },
  {
    name: "mmtrt build, flags wrong",
    argv: [BIN, "build", "--max_batchsize", "4", "--max_input_len", "none"],
    exitCode: 2,
  },
  {
    name: "mmtrt build, no checkpoint",
    argv: [BIN, "build", "--checkpoint_dir", "absent", "--output_dir", "absent-too"],
    exitCode: 1,
  },
  {
    name: "mmtrt build, rule broken",
    argv: [
      ...[BIN, "build", "--checkpoint_dir", checkpoint, "--output_dir", join(work, "engines")],
      ...["--max_multimodal_len", "1"],
    ],
    exitCode: 1,
  },
];

const timings = timePrograms(programs, Number(process.argv[2] ?? DEFAULT_RUNS));
const baseCpu = timings[0]?.cpu ?? Number.NaN;
const rows = timings.map(
  t =>
    [
      t.name,
      t.median * 1000,
      t.p10 * 1000,
      t.p90 * 1000,
      t.ratio,
      t.cpu * 1000,
      t.cpu / baseCpu,
      t.maxRss / 1e6,
    ] as const,
);
console.log(
  formatTable(
    ["command", "median ms", "p10", "p90", "× node -e 0", "CPU ms", "× node -e 0", "max RSS MB"],
    rows.map(([name, ...values]) => [name, ...values.map(v => Number(v.toFixed(2)))]),
  ),
);

const missed = timings.filter(t => t.cpu / baseCpu > MAX_RATIO || t.maxRss > MAX_RSS);
for (const { name } of missed) console.log(`over the limit: ${name}`);
process.exitCode = missed.length === 0 ? 0 : 1;

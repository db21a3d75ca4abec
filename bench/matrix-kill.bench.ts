// What a killed matrix leaves: `npx tsx bench/matrix-kill.bench.ts [kills] [seed]` after `npm run build`. Builds 8 cells for
// the ONNX Runtime backend once for their bytes, then again with SIGKILL at random moments of the run, each run going on
// where the killed one was, from an empty cache for each series of five. Prints one JSON line and exits 1 when the final
// bytes are others, when the cache has a damaged entry, or when anything of a killed run is left.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { setup as makeWeights } from "../test/support/seeded-weights.ts";

await makeWeights();

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const BIN = join(ROOT, "bin/mmtrt.js");
const MODELS = join(ROOT, "test/fixtures/models");
const SERIES = 5;

const kills = Number(process.argv[2] ?? 20);
let state = Number(process.argv[3] ?? 989);
const root = mkdtempSync(join(tmpdir(), "mmtrt-bench-"));

/** Repeatable: Park and Miller's generator, in (0, 1). */
function random(): number {
  state = (state * 48_271) % 2_147_483_647;
  return state / 2_147_483_647;
}

function directory(name: string): string {
  const dir = join(root, name);
  mkdirSync(dir);
  const models = { llava: join(MODELS, "llava-shapes"), gpt2: join(MODELS, "gpt2-shapes") };
  const matrix = { models, matrix: { precision: ["float16", "float32"], max_batch_size: [1, 3] } };
  writeFileSync(join(dir, "matrix.yaml"), JSON.stringify(matrix));
  return dir;
}

const ARGV = [BIN, "matrix", "matrix.yaml", "--json", "--no-lock"] as const;

function finish(dir: string): number {
  const start = performance.now();
  const { status, stdout, stderr } = spawnSync(process.execPath, ARGV, {
    cwd: dir,
    encoding: "utf8",
    maxBuffer: 64 << 20,
  });
  if (status !== 0) throw new Error(`ended with ${status}: ${stdout}${stderr}`);
  return performance.now() - start;
}

/** True when the process was still running. */
function killAfter(dir: string, ms: number): Promise<boolean> {
  const child = spawn(process.execPath, ARGV, { cwd: dir, stdio: "ignore" });
  const timer = setTimeout(() => child.kill("SIGKILL"), ms);
  return new Promise(resolve => {
    child.on("close", (_, signal) => {
      clearTimeout(timer);
      resolve(signal === "SIGKILL");
    });
  });
}

function bytesOf(dir: string): string {
  const hash = createHash("sha256");
  const files = readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name));
  for (const file of files.sort()) hash.update(`${relative(dir, file)}\0`).update(readFileSync(file));
  return hash.digest("hex");
}

function leftovers(dir: string): readonly string[] {
  const engines = readdirSync(join(dir, "engines")).filter(name => /\.(partial|logs|old-\d+)$/.test(name));
  return [...engines, ...readdirSync(join(dir, ".mmtrt/cache/stages"))];
}

try {
  const reference = directory("reference");
  const whole = finish(reference);
  const expected = bytesOf(join(reference, "engines"));
  const problems: string[] = [];
  let hit = 0;
  for (let series = 0; hit < kills; series++) {
    const dir = directory(`series${series}`);
    const moments: number[] = [];
    for (let i = 0; i < SERIES && hit < kills; i++) {
      const ms = random() * whole;
      moments.push(Math.round(ms));
      if (await killAfter(dir, ms)) hit++;
    }
    finish(dir);
    if (bytesOf(join(dir, "engines")) !== expected) problems.push(`other bytes after ${moments}`);
    const verified = spawnSync(process.execPath, [BIN, "cache", "verify"], { cwd: dir, encoding: "utf8" });
    if (verified.status !== 0) problems.push(`damaged after ${moments}: ${verified.stdout}`);
    if (leftovers(dir).length > 0) problems.push(`left after ${moments}: ${leftovers(dir)}`);
    if (existsSync(dir)) rmSync(dir, { recursive: true });
  }
  console.log(
    JSON.stringify({ bench: "matrix-kill", kills: hit, whole_ms: Math.round(whole), problems, node: process.version }),
  );
  process.exitCode = problems.length === 0 ? 0 : 1;
} finally {
  rmSync(root, { recursive: true, force: true });
}

import { execFileSync } from "node:child_process";
import { appendFileSync, readFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Figure, Measured } from "./figures.ts";

const RESULTS = fileURLToPath(new URL("../results", import.meta.url));

/** Appends what one subject found to bench/results/DAY.jsonl. */
export function record(subject: string, figures: readonly Figure[], versions: Readonly<Record<string, string>>): void {
  const measured: Measured = {
    bench: subject,
    command: `npx tsx bench/run.ts ${process.argv.slice(2).map(withoutPath).join(" ")}`,
    commit: execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8", cwd: RESULTS }).trim(),
    machine: machine(),
    versions: { node: process.version, ...versions },
    peers: true,
    figures,
  };
  const day = new Date().toISOString().slice(0, 10);
  appendFileSync(join(RESULTS, `${day}.jsonl`), `${JSON.stringify(measured)}\n`);
}

/** Where somebody keeps files says nothing to others. */
function withoutPath(word: string): string {
  return word.includes("/") ? "DIR" : word;
}

function machine(): Measured["machine"] {
  const flags = /^flags\s*:(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1]?.trim().split(" ") ?? [];
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    memory_gib: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    simd: flags.filter(flag => ["avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8"].includes(flag)).join(" "),
  };
}

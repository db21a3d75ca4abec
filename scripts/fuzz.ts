import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { READERS } from "../test/support/hostile/index.ts";
import { type Reader, SharedInputs } from "../test/support/hostile/reader.ts";
import { fuzz } from "../test/support/hostile/survive.ts";
import { setup } from "../test/support/seeded-weights.ts";

/**
 * The nightly fuzz: `npx tsx scripts/fuzz.ts [--cases 100000] [--seed N] [--only WORD]`. The readers run one after the
 * other in a process that is killed when a case takes longer or holds more memory than it may, and is followed by another one
 * that goes on with the next reader; test/property/hostile.test.ts has the same cases, fewer of them, in its own process.
 */
const CASE_SECONDS = 60;
/** Seconds are counted by looks, so that a machine or a job that sleeps is not taken for a case that hangs. */
const LOOK_MS = 100;
/** Node with ONNX Runtime and sharp loaded takes 300 MiB of it. */
const MOST_MIB = 1200;

const { values } = parseArgs({
  options: {
    cases: { type: "string", default: "100000" },
    seed: { type: "string", default: String(Date.now() % 1_000_000_007) },
    only: { type: "string", default: "" },
    /** Of this process: the reader to begin with, in the order of `chosen`. */
    from: { type: "string" },
  },
});

const chosen = READERS.filter(({ name }) => name.includes(values.only));
const cases = Math.ceil(Number(values.cases) / chosen.length);

/** What the working process says, one JSON to a line: a case begins, or a reader is done. */
type Message =
  | { readonly reader: number; readonly case: number }
  | { readonly reader: number; readonly seconds: number; readonly problem?: string };

function say(message: Message): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

async function work(from: number): Promise<void> {
  const shared = new SharedInputs();
  try {
    for (const [reader, { name }] of chosen.entries()) {
      if (reader < from) continue;
      const begin = performance.now();
      const onCase = (index: number): void => say({ reader, case: index });
      const problem = await fuzz(chosen[reader] as Reader, shared, {
        runs: cases,
        seed: Number(values.seed),
        onCase,
      }).then(
        () => undefined,
        (error: unknown) => `${name}: ${wordsOf(error)}`,
      );
      say({ reader, seconds: (performance.now() - begin) / 1000, ...(problem !== undefined && { problem }) });
    }
  } finally {
    await shared.clean();
  }
}

/** The counterexample, and under it what was thrown. */
function wordsOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const head = error.message.split("\n").slice(0, 4).join("\n");
  return error.cause === undefined ? (error.stack ?? head) : `${head}\n${wordsOf(error.cause)}`;
}

interface Progress {
  reader: number;
  case: number;
  /** Looks since the last word. */
  looks: number;
  failed: number;
}

/** One working process until it is done or has to be killed; gives the reader to go on with. */
function attend(from: number, progress: Progress): Promise<number> {
  const argv = ["--from", String(from), "--cases", values.cases, "--seed", values.seed, "--only", values.only];
  const worker = spawn(process.execPath, [...process.execArgv, fileURLToPath(import.meta.url), ...argv], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  Object.assign(progress, { reader: from, looks: 0 });
  let killed = "";
  createInterface({ input: worker.stdout }).on("line", line => heard(JSON.parse(line) as Message, progress));
  const watch = setInterval(() => {
    const mib = residentMib(worker);
    if (mib > MOST_MIB) killed = `held ${Math.round(mib)} MiB`;
    if (++progress.looks * LOOK_MS > CASE_SECONDS * 1000) killed = `spent ${CASE_SECONDS} s`;
    if (killed !== "") worker.kill("SIGKILL");
  }, LOOK_MS);
  return new Promise(resolve => {
    worker.on("close", code => {
      clearInterval(watch);
      if (killed === "" && code === 0) return resolve(chosen.length);
      progress.failed++;
      const why = killed || `the process ended with ${code}`;
      console.log(`FAIL ${chosen[progress.reader]?.name}: ${why} at case ${progress.case}`);
      resolve(progress.reader + 1);
    });
  });
}

function heard(message: Message, progress: Progress): void {
  progress.looks = 0;
  progress.reader = message.reader;
  if ("case" in message) {
    progress.case = message.case;
    return;
  }
  const failed = message.problem !== undefined;
  if (failed) progress.failed++;
  console.log(`${failed ? "FAIL" : "ok  "} ${chosen[message.reader]?.name} (${message.seconds.toFixed(1)} s)`);
  if (message.problem !== undefined) console.log(message.problem.replaceAll(/^/gm, "     "));
  progress.reader = message.reader + 1;
}

function residentMib({ pid }: ChildProcess): number {
  try {
    return Number(/^VmRSS:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}

async function main(): Promise<number> {
  await setup();
  console.log(`seed ${values.seed}: ${chosen.length} readers, ${cases} cases each`);
  const progress: Progress = { reader: 0, case: 0, looks: 0, failed: 0 };
  for (let from = 0; from < chosen.length; ) from = await attend(from, progress);
  console.log(`${cases * chosen.length} cases, ${progress.failed} readers failed`);
  return progress.failed === 0 ? 0 : 1;
}

if (values.from === undefined) process.exitCode = await main();
else await work(Number(values.from));

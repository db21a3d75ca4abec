// What a known beginning saves: `npx tsx bench/kv-reuse.bench.ts MODEL [runs]`, with a model of at most a few hundred
// million parameters (SmolLM2-135M's GGUF is what the recorded numbers are from). Two requests of 2080 tokens share their
// first 2048; the second one's time to its first token is taken in a session that keeps beginnings and in one that does not,
// in turn, so that a busy moment hits both. Numbers first: the same token, logits within 1e-4 of the whole prompt's largest,
// and the very bits of a session that has never seen the beginning. Prints one JSON line; exits 1 below 5 times.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSession, type Session } from "../src/runtime/session.ts";
import { buildTo, convertTo, Workspace } from "../test/support/pipeline.ts";

const SHARED = 2048;
const OWN = 32;
const LEAST = 5;

const [model, runs = "3"] = process.argv.slice(2);
if (model === undefined) throw new Error("usage: npx tsx bench/kv-reuse.bench.ts MODEL [runs]");
const root = mkdtempSync(join(tmpdir(), "mmtrt-bench-"));
const work = new Workspace();

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
const round = (value: number): number => Number(value.toFixed(1));
const argmax = (values: Float32Array): number => values.indexOf(Math.max(...values));

/** Token ids without a pattern; the same seed gives the same ids. */
function ids(length: number, seed: number): number[] {
  let state = seed;
  return Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return 100 + (state % 10_000);
  });
}

interface Sample {
  /** Milliseconds. */
  readonly reused: number;
  readonly whole: number;
  /** Largest difference of logits, by the largest of them. */
  readonly apart: number;
  readonly logits: Float32Array;
}

/** Milliseconds to the logits of the first new token, and those logits. */
async function firstToken(session: Session, prompt: readonly number[]): Promise<{ ms: number; logits: Float32Array }> {
  const start = performance.now();
  const { logits } = await session.prefill([prompt]);
  return { ms: performance.now() - start, logits: Float32Array.from(logits) };
}

try {
  const checkpoint = await convertTo(work, model, "float32");
  const limits = { max_input_len: SHARED + OWN, max_seq_len: SHARED + OWN + 1, use_paged_context_fmha: true };
  const engine = await buildTo(work, checkpoint, { ...limits, output_dir: join(root, "engine") });
  const open = (): Promise<Session> => openSession(engine, { threads: 0, reuseBytes: 2 ** 30 });
  const [without, reusing] = [await openSession(engine, { threads: 0 }), await open()];
  const document = ids(SHARED, 1);
  const prompt = (request: number): number[] => [...document, ...ids(OWN, 100 + request)];

  const cold = await firstToken(reusing, prompt(0));
  const samples: Sample[] = [];
  for (let run = 1; run <= Number(runs); run++) {
    const reused = await firstToken(reusing, prompt(run));
    const whole = await firstToken(without, prompt(run));
    const scale = Math.max(...whole.logits.map(Math.abs));
    const apart = Math.max(...whole.logits.map((x, i) => Math.abs(x - (reused.logits[i] as number)))) / scale;
    if (argmax(reused.logits) !== argmax(whole.logits) || apart > 1e-4)
      throw new Error(`run ${run}: logits are ${apart} of the largest apart`);
    samples.push({ reused: reused.ms, whole: whole.ms, apart, logits: reused.logits });
  }
  const stats = reusing.reuse;
  await reusing.close();
  await without.close();
  const fresh = await open();
  const alone = await firstToken(fresh, prompt(1));
  if (!alone.logits.every((x, i) => x === samples[0]?.logits[i])) throw new Error("a known beginning changed bits");
  await fresh.close();

  const speedup = median(samples.map(({ reused, whole }) => whole / reused));
  const result = {
    bench: "kv-reuse",
    model: model.split("/").at(-1),
    prompt_tokens: SHARED + OWN,
    shared_tokens: SHARED,
    runs: samples.length,
    ttft_ms: {
      whole: round(median(samples.map(({ whole }) => whole))),
      reused: round(median(samples.map(({ reused }) => reused))),
      cold_in_blocks: round(cold.ms),
    },
    speedup: round(speedup),
    least: LEAST,
    logits_apart: Math.max(...samples.map(({ apart }) => apart)),
    reused_tokens: stats?.reusedTokens,
    kept_mib: round((stats?.bytes ?? 0) / 2 ** 20),
    node: process.version,
  };
  console.log(JSON.stringify(result));
  process.exitCode = speedup < LEAST ? 1 : 0;
} finally {
  rmSync(root, { recursive: true, force: true });
  await work.clean();
}

import { existsSync } from "node:fs";
import { join } from "node:path";
import { searchTokens } from "../../src/runtime/generate/greedy.ts";
import { GENERATE_DEFAULTS } from "../../src/runtime/generate/options.ts";
import { openSession } from "../../src/runtime/session.ts";
import { type Figure, figureOf, type Samples, shown } from "../support/figures.ts";
import { DEFAULT_THREADS, type Place } from "../support/place.ts";
import { Turns } from "../support/turns.ts";

const PROMPT = 128;
const NEW_TOKENS = 64;
const PEER = "onnxruntime-genai";
const GROWING = "mmtrt, continuous cache";

/** Ids without a pattern, below every vocabulary here; the same in both programs. */
const prompt = Array.from({ length: PROMPT }, (_, i) => 100 + ((i * 7919 + 13) % 20_000));

interface Taken {
  readonly prefill: number;
  /** Milliseconds a token. */
  readonly decode: number;
  /** Milliseconds of the processor a token, all threads: what is left to compare on a machine that is not quiet. */
  readonly cpu: number;
  readonly tokens: readonly number[];
}

/**
 * Prefill of 128 tokens and 64 greedy tokens after it, request by request in turns, both with as many threads in the same run. The peer's
 * process and ours stay alive, and the one that has no turn sleeps. What counts is what a caller of the library waits for:
 * mmtrt's session with its search, the peer's Generator.
 */
export async function session(place: Place): Promise<readonly Figure[]> {
  const figures: Figure[] = [];
  for (const model of ["smollm2", "llama-1.1b"])
    for (const format of ["fp32", "int4"]) {
      const name = `${model} ${format}`;
      if (!place.wants(name)) continue;
      figures.push(...(await sideBySide(name, place)).map(shown));
    }
  return figures;
}

/** A library that has a model open. */
interface Program {
  readonly name: string;
  answer(): Promise<Taken>;
  close(): Promise<void>;
}

async function sideBySide(name: string, { dir, python, runs, threads }: Place): Promise<readonly Figure[]> {
  const [model, format] = name.split(" ") as [string, string];
  const programs = [
    await openOwn("mmtrt", join(dir, `e-${model}-${format}`), threads),
    await openPeer(python(PEER), join(dir, `genai-${model}-${format}`), threads),
  ];
  // Two float copies of the large model are what memory holds.
  const growing = join(dir, `ec-${model}-${format}`);
  if (name !== "llama-1.1b fp32" && existsSync(growing)) programs.push(await openOwn(GROWING, growing, threads));
  const warm = new Map<string, Taken>();
  for (const program of [...programs, ...programs]) warm.set(program.name, await program.answer());
  const rounds = new Map(programs.map(program => [program.name, [] as Taken[]]));
  for (let i = 0; i < runs; i++) for (const program of programs) rounds.get(program.name)?.push(await program.answer());
  for (const program of programs) await program.close();
  const speeds = (of: (taken: Taken) => number): Samples =>
    new Map([...rounds].map(([program, taken]) => [program, taken.map(of)]));
  const expected = warm.get(PEER)?.tokens ?? [];
  const differs = warm.get("mmtrt")?.tokens.findIndex((token, i) => token !== expected[i]);
  const note = `first ${differs === -1 ? NEW_TOKENS : differs} of ${NEW_TOKENS} greedy tokens equal`;
  const title = threads === DEFAULT_THREADS ? name : `${name}, ${threads} thread`;
  // On a machine with other work the wall clock of either says nothing.
  if (threads !== DEFAULT_THREADS) {
    const limit = { to: PEER, wanted: "≤ 0.9" };
    return [
      {
        ...figureOf(
          `processor a token, ${title}`,
          "ms",
          speeds(t => t.cpu),
          limit,
        ),
        note,
      },
    ];
  }
  const decode = figureOf(
    `decode, ${title}`,
    "tokens/s",
    speeds(t => 1000 / t.decode),
    { to: PEER, wanted: "≥ 1.1" },
  );
  const prefill = speeds(t => (PROMPT * 1000) / t.prefill);
  return [
    { ...decode, note },
    figureOf(`prefill of ${PROMPT}, ${title}`, "tokens/s", prefill, { to: PEER, wanted: "≥ 1.0" }),
  ];
}

async function openOwn(name: string, engine: string, threads: number): Promise<Program> {
  const own = await openSession(engine, { threads });
  return {
    name,
    async answer() {
      const began = performance.now();
      const decoding = await own.prefill([prompt]);
      const prefill = performance.now() - began;
      const [started, worked] = [performance.now(), process.cpuUsage()];
      const [answer] = await searchTokens(decoding, [prompt], { ...GENERATE_DEFAULTS, maxNewTokens: NEW_TOKENS });
      decoding.close();
      const { user, system } = process.cpuUsage(worked);
      const decode = (performance.now() - started) / (NEW_TOKENS - 1);
      const cpu = (user + system) / 1000 / (NEW_TOKENS - 1);
      return { prefill, decode, cpu, tokens: answer?.tokenIds ?? [] };
    },
    close: () => own.close(),
  };
}

async function openPeer(python: string, model: string, threads: number): Promise<Program> {
  const script = join(import.meta.dirname, "../peers/genai_session.py");
  const peer = new Turns(python, [script, model, String(threads), String(PROMPT + NEW_TOKENS + 1)]);
  await peer.ready();
  return {
    name: PEER,
    async answer() {
      const first = await peer.ask({ prefill: prompt });
      const rest = await peer.ask({ decode: NEW_TOKENS - 1 });
      const tokens = [...(first.tokens as number[]), ...(rest.tokens as number[])];
      const each = (total: unknown): number => (total as number) / (NEW_TOKENS - 1);
      return { prefill: first.ms as number, decode: each(rest.ms), cpu: each(rest.cpu), tokens };
    },
    close: async () => peer.close(),
  };
}

// Speed of an INT4 decoder in ONNX Runtime: `npx tsx bench/decode-int4.bench.ts PYTHON [threads] [tokens] [dir]` after
// `npm run build`. PYTHON has onnxruntime-genai, torch and transformers. Needs 8 GB of memory and 7 GB under `dir` (by
// default the temporary directory); what is there from an earlier run is used again, and a `dir` that was named is kept.
// Baseline: the graph of onnxruntime-genai's model builder, INT4 in blocks of 128 (as ours) and of 32 (its default), of
// the same synthetic 1.1 B LLaMA, in the same library, token by token in turn, so that a busy moment hits all alike.
// Prints one JSON line and exits 1 when --quantize_lm_head, which has the builder's format, is slower than a baseline.
// CPU time is what counts: on a shared machine wall clock is mostly the neighbours'. With one thread it is the same.
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { InferenceSession, Tensor } from "onnxruntime-node";

const BIN = fileURLToPath(new URL("../bin/mmtrt.js", import.meta.url));
const [python, threads = "1", tokens = "40", named] = process.argv.slice(2);
if (python === undefined) throw new Error("which Python? npx tsx bench/decode-int4.bench.ts PYTHON");
const root = named ?? mkdtempSync(join(tmpdir(), "mmtrt-bench-"));
const PROMPT = 64;
const INT4 = ["--dtype", "float32", "--use_weight_only", "--weight_only_precision", "int4", "--group_size", "128"];

const mmtrt = (...argv: string[]): Buffer =>
  execFileSync(process.execPath, [BIN, ...argv, "--quiet"], { stdio: ["ignore", "ignore", "pipe"] });
const made = (name: string, make: (path: string) => void): string => {
  const path = join(root, name);
  if (!existsSync(path)) make(path);
  return path;
};

/** The builder loads a tokenizer; words that nobody reads are enough. */
function writeTokenizer(dir: string): void {
  const vocab = Object.fromEntries(Array.from({ length: 32000 }, (_, id) => [`w${id}`, id]));
  const model = { type: "WordLevel", vocab, unk_token: "w0" };
  const rest = { truncation: null, padding: null, added_tokens: [], normalizer: null, post_processor: null };
  const json = { version: "1.0", ...rest, pre_tokenizer: { type: "Whitespace" }, decoder: null, model };
  writeFileSync(join(dir, "tokenizer.json"), JSON.stringify(json));
  const config = { tokenizer_class: "PreTrainedTokenizerFast", unk_token: "w0", bos_token: "w1", eos_token: "w2" };
  writeFileSync(join(dir, "tokenizer_config.json"), JSON.stringify(config));
}

const source = made("model", path => {
  mmtrt("synth", path, "--preset", "llama-1.1b");
  writeTokenizer(path);
});

function baseline(block: number): string {
  const dir = made(`genai-${block}`, path => {
    const argv = ["-m", "onnxruntime_genai.models.builder", "-i", source, "-o", path, "-p", "int4", "-e", "cpu"];
    const options = ["-c", join(root, "cache"), "--extra_options", `block_size=${block}`, "hf_token=false"];
    execFileSync(python as string, [...argv, ...options], { stdio: ["ignore", "ignore", "pipe"] });
  });
  return join(dir, "model.onnx");
}

function ours(name: string, ...options: string[]): string {
  const checkpoint = made(`${name}.checkpoint`, path => mmtrt("convert", source, "--output_dir", path, ...options));
  const engine = made(name, path =>
    mmtrt(
      "build",
      "--checkpoint_dir",
      checkpoint,
      "--output_dir",
      path,
      "--max_input_len",
      "256",
      "--max_seq_len",
      "512",
    ),
  );
  return join(engine, "llm", "rank0.onnx");
}

type Feeds = Record<string, Tensor>;

/** One graph with its cache, whichever names its inputs have. */
class Decoding {
  readonly milliseconds: number[] = [];
  readonly #session: InferenceSession;
  #cache: Feeds;
  #ids = Int32Array.from({ length: PROMPT }, (_, i) => (i * 7919) % 32000);
  #past = 0;

  constructor(session: InferenceSession) {
    this.#session = session;
    const empty = (): Tensor => new Tensor("float32", new Float32Array(0), [1, 4, 0, 64]);
    const names = session.inputNames.filter(name => name.startsWith("past_"));
    this.#cache = Object.fromEntries(names.map(name => [name, empty()]));
  }

  static async open(file: string): Promise<Decoding> {
    return new Decoding(
      await InferenceSession.create(file, {
        executionProviders: ["cpu"],
        intraOpNumThreads: Number(threads),
        logSeverityLevel: 3,
        extra: { session: { qdq_matmulnbits_accuracy_level: "4" } },
      }),
    );
  }

  async step(): Promise<void> {
    const feeds = { ...this.#cache, ...this.#inputs() };
    const before = process.cpuUsage();
    const outputs = await this.#session.run(feeds);
    const { user, system } = process.cpuUsage(before);
    this.milliseconds.push((user + system) / 1000);
    this.#past += this.#ids.length;
    this.#ids = Int32Array.of(likeliest((outputs.logits as Tensor).data as Float32Array));
    const next = (name: string): string => name.replace("past_key_values", "present").replace(/^past_/, "present_");
    this.#cache = Object.fromEntries(Object.keys(this.#cache).map(name => [name, outputs[next(name)] as Tensor]));
  }

  #inputs(): Feeds {
    const count = this.#ids.length;
    const all = this.#past + count;
    if (!this.#session.inputNames.includes("last_token_ids")) {
      const wide = BigInt64Array.from(this.#ids, BigInt);
      const mask = new BigInt64Array(all).fill(1n);
      return { input_ids: new Tensor("int64", wide, [1, count]), attention_mask: new Tensor("int64", mask, [1, all]) };
    }
    const int32 = (values: Int32Array, dims: number[]): Tensor => new Tensor("int32", values, dims);
    return {
      input_ids: int32(this.#ids, [1, count]),
      position_ids: int32(
        Int32Array.from(this.#ids, (_, i) => this.#past + i),
        [1, count],
      ),
      last_token_ids: int32(Int32Array.of(count - 1), [1]),
      attention_mask: int32(new Int32Array(all).fill(1), [1, all]),
    };
  }

  async close(): Promise<void> {
    await this.#session.release();
  }
}

/** Of the last token's logits. */
function likeliest(logits: Float32Array): number {
  const last = logits.subarray(logits.length - 32000);
  return last.reduce((best, value, i) => (value > (last[best] as number) ? i : best), 0);
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
const round = (value: number): number => Number(value.toFixed(3));

try {
  const files = {
    genai_block_32: baseline(32),
    genai_block_128: baseline(128),
    mmtrt_g128: ours("g128", ...INT4),
    mmtrt_g128_lm_head: ours("g128-head", ...INT4, "--quantize_lm_head"),
  };
  const graphs = new Map<string, Decoding>();
  for (const [name, file] of Object.entries(files)) graphs.set(name, await Decoding.open(file));
  // The prompt, and two tokens until everything is in place.
  for (const graph of graphs.values()) for (let i = 0; i < 3; i++) await graph.step();
  for (let i = 0; i < Number(tokens); i++) for (const graph of graphs.values()) await graph.step();
  const ms = Object.fromEntries([...graphs].map(([name, { milliseconds }]) => [name, median(milliseconds.slice(3))]));
  const speed = (name: string, of: string): number => round((ms[of] as number) / (ms[name] as number));
  const ratio = Object.fromEntries(
    ["mmtrt_g128", "mmtrt_g128_lm_head"].flatMap(name =>
      ["genai_block_32", "genai_block_128"].map(of => [`${name} / ${of}`, speed(name, of)]),
    ),
  );
  const missed = Object.entries(ratio).filter(([name, value]) => name.includes("lm_head") && value < 1);
  const machine = {
    cpu: cpus()[0]?.model,
    cores: cpus().length,
    node: process.version,
    load: round(loadavg()[0] ?? 0),
  };
  const cpu_ms = Object.fromEntries(Object.entries(ms).map(([name, value]) => [name, round(value)]));
  console.log(
    JSON.stringify({
      ...{ bench: "decode-int4", threads: Number(threads), prompt: PROMPT, tokens: Number(tokens) },
      ...{ cpu_ms_per_token: cpu_ms, speed_ratio: ratio, missed: missed.map(([name]) => name), ...machine },
    }),
  );
  for (const graph of graphs.values()) await graph.close();
  process.exitCode = missed.length === 0 ? 0 : 1;
} finally {
  if (named === undefined) rmSync(root, { recursive: true, force: true });
}

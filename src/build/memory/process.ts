import type { ConvertedCheckpoint } from "../../checkpoint/read.ts";
import { byteLength, type StoredTensor } from "../../tensor/index.ts";
import type { MemoryAccount, MemoryInput, RankMemory } from "./types.ts";

/** One line of what the process holds that runs the graphs in ONNX Runtime, in bytes of host memory. */
export interface ProcessItem {
  readonly what: "library" | "graphs" | "weights" | "loading" | "caches" | "calls";
  readonly bytes: number;
  readonly formula: string;
}

/** The process of the onnxruntime backend at its peak: all ranks and the image encoder are in it. */
export interface ProcessMemory {
  readonly items: readonly ProcessItem[];
  /** The weights of each rank, its encoder's with them. */
  readonly ranks: readonly number[];
  /** Whatever comes first of loading and running, with all else; less than the sum of the items. */
  readonly peak: number;
}

const MIB = 1024 ** 2;
// Fitted to VmHWM of ONNX Runtime 1.30 in Node 20 on x86-64 with two threads (docs/internals/memory.md has the table).
const LIBRARY = 98 * MIB;
const GRAPH = 14 * MIB;
/** A rank is cut at its collectives into graphs of a few operators, which have threads and little else. */
const SEGMENT = 1.5 * MIB;
/** Codes with one scale an output are held as they are and packed; codes in groups are packed, their own bytes freed in part. */
const CODES = { plain: 2, grouped: 1.5 };
/** Of the largest fp32 tensor, what is there twice while it is packed: none of it was seen, and all. */
const PACKED = 0.5;
/** past_*, what ONNX Runtime writes, and the copy of that which JavaScript gets. */
const CACHE_COPIES = 3;

interface Loaded {
  /** What stays. */
  readonly held: number;
  /** What is there besides while the graph is made ready. */
  readonly loading: number;
}

/**
 * fp32: itself; packed for its product one tensor after the other. fp16: products are computed in fp32,
 * and the halves go when all are widened. bf16: widened by the graph, then packed. A word table beside codes is looked up as stored.
 */
function loadedTensor({ dtype, shape, name }: NamedTensor, options: LoadOptions): Loaded {
  const bytes = byteLength(dtype, shape);
  const wide = byteLength("float32", shape);
  if (dtype === "float32") return { held: bytes, loading: 0 };
  if (dtype === "bfloat16") return { held: 2 * wide, loading: 0 };
  if (dtype === "float16")
    return options.hasCodes && /embedding\.weight$/.test(name)
      ? { held: bytes, loading: 0 }
      : { held: wide, loading: bytes };
  return { held: bytes * (options.isGrouped ? CODES.grouped : CODES.plain), loading: 0 };
}

interface NamedTensor extends Pick<StoredTensor, "dtype" | "shape"> {
  readonly name: string;
}

interface LoadOptions {
  readonly hasCodes: boolean;
  readonly isGrouped: boolean;
}

function loadedFile(tensors: Iterable<NamedTensor>, options: LoadOptions): Loaded {
  let [held, loading, largest] = [0, 0, 0];
  for (const tensor of tensors) {
    const one = loadedTensor(tensor, options);
    held += one.held;
    loading += one.loading;
    if (tensor.dtype === "float32") largest = Math.max(largest, one.held);
  }
  return { held, loading: loading + PACKED * largest };
}

export function processMemory(
  checkpoint: ConvertedCheckpoint,
  input: MemoryInput,
  { ranks }: MemoryAccount,
): ProcessMemory {
  const options = loadOptions(checkpoint);
  const load = (tensors: ReadonlyMap<string, StoredTensor> | undefined): Loaded => {
    const named = [...(tensors ?? [])].map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
    return loadedFile(named, options);
  };
  const files = ranks.map((_, i) => [load(checkpoint.ranks[i]?.tensors), load(checkpoint.encoder?.ranks[i]?.tensors)]);
  const visual = load(checkpoint.visual?.tensors);
  const all = [...files.flat(), visual];
  const weights = sum(all.map(({ held }) => held));
  // Graphs are loaded one after the other.
  const loading = Math.max(...all.map(one => one.loading));
  const graphs = graphsOf(checkpoint, input);
  const caches = sum(ranks.map(rank => cacheBytes(rank)));
  // Ranks run one after the other, as the image encoder does before them.
  const calls = Math.max(...ranks.map(callBytes));
  const items: readonly ProcessItem[] = [
    { what: "library", bytes: LIBRARY, formula: "Node and ONNX Runtime, loaded" },
    graphs,
    { what: "weights", bytes: weights, formula: "of all graphs, as ONNX Runtime keeps them for its products" },
    {
      what: "loading",
      bytes: loading,
      formula: "while a graph is loaded: what is widened or packed, as it was before",
    },
    {
      what: "caches",
      bytes: caches,
      formula: `keys and values × ${CACHE_COPIES}: taken, given, and as JavaScript sees them`,
    },
    { what: "calls", bytes: calls, formula: "activations, logits and features of the largest call" },
  ];
  const peak = LIBRARY + graphs.bytes + weights + Math.max(loading, caches + calls);
  return { items, ranks: files.map(parts => sum(parts.map(({ held }) => held))), peak };
}

function loadOptions({ quantization }: ConvertedCheckpoint): LoadOptions {
  const algo = quantization?.quantAlgo ?? null;
  return { hasCodes: algo !== null, isGrouped: /_(AWQ|GPTQ)$/.test(algo ?? "") };
}

function graphsOf({ visual, encoder }: ConvertedCheckpoint, { tpSize, ppSize, language }: MemoryInput): ProcessItem {
  const ranks = tpSize * ppSize;
  const whole = (tpSize === 1 ? ranks : 0) + Number(visual !== undefined) + (encoder === undefined ? 0 : 2 * ranks);
  // Two sums a layer, one of the embedding's or of the logits at the ends.
  const segments = tpSize === 1 ? 0 : tpSize * (2 * language.layers + ppSize + 1);
  return {
    what: "graphs",
    bytes: whole * GRAPH + segments * SEGMENT,
    formula: `graphs ${whole} × ${GRAPH} B${segments > 0 ? ` + parts between collectives ${segments} × ${SEGMENT} B` : ""}`,
  };
}

function cacheBytes({ items }: RankMemory): number {
  const of = (name: string): number => sum(items.filter(({ what }) => what === name).map(({ bytes }) => bytes));
  return CACHE_COPIES * of("kv_cache") + 2 * of("cross_kv_cache");
}

const CALLS: ReadonlySet<string> = new Set([
  "activations",
  "logits",
  "hidden_states",
  "prompt_table",
  "adapters",
  "encoder_activations",
  "visual_activations",
]);

function callBytes({ items }: RankMemory): number {
  return sum(items.filter(({ what }) => CALLS.has(what)).map(({ bytes }) => bytes));
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}

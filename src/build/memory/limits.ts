import type { Problem } from "../../diagnostics/index.ts";
import { showBytes } from "../../rules/rule.ts";
import type { Gpu } from "../gpus.ts";
import { memoryAccount } from "./account.ts";
import type { BuilderMemory, BuildMemory } from "./builder.ts";
import { bytesOf } from "./bytes.ts";
import type { MemoryAccount, MemoryInput, RankMemory } from "./types.ts";

/** What a CUDA context, the engine's own code and the allocator's gaps take besides: a rule of thumb. */
export const RESERVED = 1024 ** 3;

/** These refuse a build and leave its plan to be looked at. */
export const MEMORY_CODES: ReadonlySet<string> = new Set(["BLD009", "BLD080", "BLD081"]);

/** BLD009 when the fullest rank needs more than `gpu` has, with what would fit. */
export function fitsGpu(account: MemoryAccount, input: MemoryInput, gpu: Gpu, at: string): Problem | undefined {
  const available = gpu.memory_mib * 1024 ** 2 - RESERVED;
  if (account.peak <= available) return undefined;
  return {
    code: "BLD009",
    what: `rank ${fullestOf(account).rank} needs ${showBytes(account.peak)} and ${gpu.name} has ${showBytes(available)} free`,
    at,
    why: `${largestPart(account)}; ${showBytes(RESERVED)} of the card are left to the driver`,
    fix: whatFits(input, available, "choose a larger GPU"),
  };
}

/** BLD080 when the fullest rank needs more than the user allows. */
export function fitsLimit(account: MemoryAccount, input: MemoryInput, limit: number, at: string): Problem | undefined {
  if (account.peak <= limit) return undefined;
  return {
    code: "BLD080",
    what: `rank ${fullestOf(account).rank} needs ${showBytes(account.peak)} to run and max_gpu_memory is ${showBytes(limit)}`,
    at,
    why: largestPart(account),
    fix: whatFits(input, limit, `--max_gpu_memory ${sizeAbove(account.peak)}`),
  };
}

/** BLD081 when a single builder needs more than the user allows; how many run at once is what `workers` is for. */
export function builderFits(
  { builders, peak }: Pick<BuildMemory, "builders" | "peak">,
  { heads, tpSize }: { readonly heads: number; readonly tpSize: number },
  limit: number,
  at: string,
): Problem | undefined {
  const fullest = builders.find(({ host }) => host === peak);
  if (fullest === undefined || peak <= limit) return undefined;
  const held = fullest.items.filter(({ what }) => what !== "library" && what !== "graph");
  const weights = held.reduce((sum, { bytes }) => sum + bytes, 0);
  const spread =
    fullest.name === "visual" ? undefined : splits(heads, tpSize).find(tp => fitsAt(fullest, tp / tpSize, limit));
  const ways = [
    `--max_build_memory ${sizeAbove(peak)}`,
    spread === undefined
      ? undefined
      : `convert with --tp_size ${spread}, a rank of which takes about ${showBytes(builderAt(fullest, spread / tpSize))}`,
  ];
  return {
    code: "BLD081",
    what: `the builder of ${fullest.name} takes ${showBytes(peak)} and max_build_memory is ${showBytes(limit)}`,
    at,
    why: `weights that are read, held and written make ${showBytes(weights)} of it`,
    fix: joined(ways),
  };
}

/** Weights shrink with the ranks; the library and the graph stay. */
function builderAt({ items }: BuilderMemory, ratio: number): number {
  return items.reduce(
    (sum, { what, bytes }) => sum + (what === "library" || what === "graph" ? bytes : bytes / ratio),
    0,
  );
}

function fitsAt(builder: BuilderMemory, ratio: number, limit: number): boolean {
  return builderAt(builder, ratio) <= limit;
}

function fullestOf({ ranks }: MemoryAccount): RankMemory {
  return ranks.reduce((a, b) => (b.total > a.total ? b : a));
}

function largestPart(account: MemoryAccount): string {
  const largest = fullestOf(account).items.reduce((a, b) => (b.bytes > a.bytes ? b : a));
  return `the largest part is ${largest.what} with ${showBytes(largest.bytes)} (${largest.formula})`;
}

/** Single changes after which the fullest rank fits, each computed; a number is the largest that does. */
function whatFits(input: MemoryInput, available: number, otherwise: string): string {
  const fits = (change: Partial<MemoryInput>): boolean => memoryAccount({ ...input, ...change }).peak <= available;
  const { language, maxBatchSize, maxSeqLen, maxInputLen, tpSize } = input;
  const rowsPerItem = input.promptRows / maxBatchSize;
  const batch = largest(maxBatchSize, n => fits({ maxBatchSize: n, promptRows: Math.ceil(n * rowsPerItem) }));
  const length = largest(maxSeqLen, n => fits({ maxSeqLen: n, maxInputLen: Math.min(n, maxInputLen) }));
  const tp = splits(language.heads, tpSize).find(size => fits(spreadOver(input, size)));
  // Rules refuse codes in a static cache, and in one that prompts come to in pieces.
  const isFloat = bytesOf(input.kvDtype) > 1;
  const grows = input.cacheType === "continuous" && isFloat;
  const takesPieces = isFloat && !input.encoderLen;
  const piece = takesPieces ? largest(input.contextPiece ?? maxInputLen, n => fits({ contextPiece: n })) : 0;
  const codes = grows && input.contextPiece === undefined;
  const ways = [
    batch > 0 && batch < maxBatchSize ? `--max_batch_size ${batch}` : undefined,
    length > 1 && length < maxSeqLen
      ? `--max_seq_len ${length}${length < maxInputLen ? ` --max_input_len ${length}` : ""}`
      : undefined,
    grows && fits({ cacheType: "static" }) ? "--kv_cache_type static" : undefined,
    piece > 0 ? `--use_paged_context_fmha --max_num_tokens ${piece * maxBatchSize}` : undefined,
    codes && fits({ kvDtype: "int8" }) ? "convert with --int8_kv_cache" : undefined,
    tp === undefined ? undefined : `convert with --tp_size ${tp} to spread the weights`,
    otherwise,
  ];
  return joined(ways);
}

/** The same model on more GPUs; each keeps the whole embedding table, which is not split unless asked for. */
function spreadOver(input: MemoryInput, tpSize: number): Partial<MemoryInput> {
  const { language, ppSize, rankWeights, expandedWeights } = input;
  const table = language.vocabSize * language.hiddenSize * bytesOf(input.computeDtype);
  const ratio = tpSize / input.tpSize;
  const share = (bytes: number, whole: number): number => whole + Math.max(0, bytes - whole) / ratio;
  const most = Math.max(...rankWeights);
  return {
    tpSize,
    rankWeights: Array(tpSize * ppSize).fill(share(most, Math.min(table, most))),
    expandedWeights: Array(tpSize * ppSize).fill(Math.max(0, ...(expandedWeights ?? [])) / ratio),
  };
}

/** Larger numbers of ranks that the heads can be dealt out to. */
function splits(heads: number, tpSize: number): readonly number[] {
  const sizes: number[] = [];
  for (let size = tpSize * 2; size <= heads; size *= 2) if (heads % size === 0) sizes.push(size);
  return sizes;
}

/** Largest n in 1 … most for which `fits` holds, 0 when none; `fits` must be monotonic. */
function largest(most: number, fits: (n: number) => boolean): number {
  let low = 0;
  for (let high = most; low < high; ) {
    const middle = Math.ceil((low + high) / 2);
    if (fits(middle)) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** The size as an option takes it, in MiB rounded up. */
function sizeAbove(bytes: number): string {
  return `${Math.ceil(bytes / 1024 ** 2)}MiB`;
}

function joined(ways: readonly (string | undefined)[]): string {
  return ways.filter(way => way !== undefined).join(", or ");
}

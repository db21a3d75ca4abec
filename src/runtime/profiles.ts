import type { Problem } from "../diagnostics/index.ts";
import type { EngineIo, EngineProfile } from "../formats/engine-config.ts";

/** Sizes of the inputs of one call, by input name. */
export type InputShapes = Readonly<Record<string, readonly number[]>>;

/** The build flag that sets the limit of a named size, and the value it must at least have. */
const FLAGS: Readonly<Record<string, (seen: number) => string>> = {
  batch: seen => `--max_batch_size ${seen}`,
  seq: seen => `--max_input_len ${seen}`,
  past: seen => `--max_seq_len ${seen + 1}`,
  "past + seq": seen => `--max_seq_len ${seen}`,
  rows: seen => `--max_multimodal_len ${seen}`,
  encoder_seq: seen => `--max_encoder_input_len ${seen}`,
  blocks_per_sequence: seen => `--max_seq_len ${seen} × tokens_per_block`,
  blocks: seen => `--max_batch_size and --max_seq_len for a pool of ${seen} blocks`,
};

const WHY: Readonly<Record<string, string>> = {
  batch: "each prompt (in generation: each beam of each prompt) is a row of the batch",
  seq: "a prompt's tokens are counted with the visual features of its images",
  past: "the tokens before the last one are kept in the KV cache",
  "past + seq": "the mask covers the KV cache and the new tokens",
  rows: "every image of the batch puts its visual features into the prompt table",
  encoder_seq: "the prompt, with the visual features of its images, is what the encoder takes",
  blocks: "the pool has blocks for every row of the largest batch at full length",
  blocks_per_sequence: "a sequence has a block of the cache for every tokens_per_block tokens",
};

/**
 * Compares the shapes of a call with the profiles that could serve it, before anything runs: what TensorRT would answer
 * with "satisfyProfile Runtime dimension does not satisfy any optimization profile", and without saying which.
 * Inputs that share a named size (batch, seq, past, rows) are one problem. Nothing is wrong as soon as one profile fits.
 */
export function checkProfiles(
  profiles: readonly EngineProfile[],
  io: readonly EngineIo[],
  shapes: InputShapes,
  at: string,
): readonly Problem[] {
  const reports = profiles.map(profile => checkProfile(profile, io, shapes, at));
  return reports.reduce((best, report) => (report.length < best.length ? report : best), reports[0] ?? []);
}

/** Tokens a static cache holds; undefined for a cache that grows, by columns or by blocks. */
export function staticCapacity(io: readonly EngineIo[]): number | undefined {
  if (io.some(({ name }) => name === "block_table")) return undefined;
  return io.find(({ name }) => /^cache_key_\d+$/.test(name))?.shape[2];
}

/** No input of a static cache grows, so no profile can tell that it is full. `needed`: tokens a sequence has cached at the end. */
export function checkCapacity(io: readonly EngineIo[], needed: number, at: string): readonly Problem[] {
  const capacity = staticCapacity(io);
  if (capacity === undefined || needed <= capacity) return [];
  return [
    {
      code: "RUN010",
      what: `prompt and answer take ${needed} tokens of cache_key_0, which has ${capacity}`,
      at,
      why: "a static cache has its capacity from --max_seq_len",
      fix: `build with --max_seq_len ${needed} or more, or ask for less at once`,
    },
  ];
}

interface Miss {
  readonly dim: string;
  readonly seen: number;
  readonly min: number;
  readonly max: number;
  readonly inputs: string[];
}

function checkProfile(
  profile: EngineProfile,
  io: readonly EngineIo[],
  shapes: InputShapes,
  at: string,
): readonly Problem[] {
  const misses = new Map<string, Miss>();
  for (const [input, shape] of Object.entries(shapes)) {
    const range = profile.shapes[input];
    const dims = io.find(value => value.kind === "input" && value.name === input)?.dims;
    for (const [axis, seen] of shape.entries()) {
      const min = range?.min[axis] ?? 0;
      const max = range?.max[axis] ?? -1;
      if (seen >= min && seen <= max) continue;
      const name = dims?.[axis];
      const dim = typeof name === "string" ? name : `axis ${axis} of ${input}`;
      const key = `${dim}/${seen}/${min}/${max}`;
      const miss = misses.get(key) ?? { dim, seen, min, max, inputs: [] };
      miss.inputs.push(input);
      misses.set(key, miss);
    }
  }
  return [...misses.values()].map(miss => asProblem(profile.name, miss, at));
}

function asProblem(profile: string, { dim, seen, min, max, inputs }: Miss, at: string): Problem {
  const isBeams = dim === "batch" && profile.startsWith("generation");
  const flag = isBeams ? `--max_batch_size and --max_beam_width whose product is ${seen}` : FLAGS[dim]?.(seen);
  const range = min === max ? `exactly ${max}` : `${min} to ${max}`;
  const shown =
    inputs.length <= 3 ? inputs.join(", ") : `${inputs.slice(0, 2).join(", ")} and ${inputs.length - 2} more inputs`;
  return {
    code: "RUN010",
    what: `${dim} is ${seen} in ${shown}; the ${profile} profile takes ${range}`,
    at,
    why: WHY[dim] ?? "the engine was built for this size",
    fix: flag === undefined || seen < min ? `give ${range}` : `build with ${flag} or more, or ask for less at once`,
  };
}

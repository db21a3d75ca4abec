import type { EngineIo, LlmEngineConfig } from "../../src/formats/engine-config.ts";
import type { Feeds, Fetches, OrtGraph, Tensor } from "../../src/runtime/ort.ts";

const HEADS = 2;
const HEAD_DIM = 3;
const PRIME = 1009;

/**
 * A decoder in whole numbers, so that any two ways to the same tokens have the same bits: a token's key is a link made of
 * its id, its position and the key before it, and the logits are the last link and the sum of all that the mask shows.
 */
export function chainGraph(): OrtGraph {
  const tensor = (type: string, data: unknown, dims: readonly number[]): Tensor =>
    ({ type, data, dims }) as unknown as Tensor;
  return {
    file: "chain",
    outputs: [],
    tensor,
    close: async () => undefined,
    run: async feeds => ("cache_lengths" in feeds ? runStatic(feeds, tensor) : runContinuous(feeds, tensor)),
  } as OrtGraph;
}

/** An engine's config with the chain's inputs; block size and kind of cache as asked. */
export function chainConfig(of: {
  readonly kind: "continuous" | "static";
  readonly capacity: number;
  readonly tokens: number;
}): LlmEngineConfig {
  const cache = (name: string, columns: number): EngineIo => {
    const shape = [-1, HEADS, columns, HEAD_DIM];
    return { name, kind: "input", dtype: "float32", shape, dims: shape };
  };
  const logits: EngineIo = { name: "logits", kind: "output", dtype: "float32", shape: [-1, 2], dims: [-1, 2] };
  const prefix = of.kind === "static" ? "cache" : "past";
  const columns = of.kind === "static" ? of.capacity : -1;
  const position: EngineIo = { name: "position_ids", kind: "input", dtype: "int32", shape: [-1, -1], dims: [-1, -1] };
  return {
    build_config: {
      kv_cache_type: of.kind,
      plugin_config: { tokens_per_block: of.tokens, use_paged_context_fmha: true },
    },
    io: [position, cache(`${prefix}_key_0`, columns), cache(`${prefix}_value_0`, columns), logits],
    profiles: [],
  } as unknown as LlmEngineConfig;
}

type MakeTensor = (type: string, data: unknown, dims: readonly number[]) => Tensor;

function numbers(feeds: Feeds, name: string): Int32Array {
  return feeds[name]?.data as Int32Array;
}

function link(before: number, id: number, position: number): number {
  return (before * 31 + id * 7 + position * 13 + 1) % PRIME;
}

/** [rows, heads, columns, head_dim] whose element is the link, the head and the channel. */
function spread(links: readonly (readonly number[])[], columns: number, sign: number): Float32Array {
  const data = new Float32Array(links.length * HEADS * columns * HEAD_DIM);
  let at = 0;
  for (const row of links) {
    for (let head = 0; head < HEADS; head++) {
      for (let column = 0; column < columns; column++) {
        for (let d = 0; d < HEAD_DIM; d++)
          data[at++] = row[column] === 0 ? 0 : sign * ((row[column] ?? 0) * 8 + head * 4 + d);
      }
    }
  }
  return data;
}

/** Links of one row back out of its keys. */
function linksOf({ data, dims }: Tensor, row: number): number[] {
  const columns = dims[2] as number;
  const start = row * HEADS * columns * HEAD_DIM;
  return Array.from({ length: columns }, (_, i) => ((data as Float32Array)[start + i * HEAD_DIM] as number) / 8);
}

function logitsOf(links: readonly (readonly number[])[], last: readonly number[], make: MakeTensor): Tensor {
  const data = links.flatMap((row, i) => [
    row[last[i] as number] ?? 0,
    row.slice(0, (last[i] as number) + 1).reduce((sum, x) => sum + x, 0),
  ]);
  return make("float32", Float32Array.from(data), [links.length, 2]);
}

function runContinuous(feeds: Feeds, make: MakeTensor): Fetches {
  const [ids, positions, mask] = [
    numbers(feeds, "input_ids"),
    numbers(feeds, "position_ids"),
    numbers(feeds, "attention_mask"),
  ];
  const [rows, seq] = (feeds.input_ids as Tensor).dims as [number, number];
  const past = feeds.past_key_0 as Tensor;
  const total = (past.dims[2] as number) + seq;
  const links = Array.from({ length: rows }, (_, row) => {
    const own = linksOf(past, row);
    for (let i = 0; i < seq; i++) {
      const shown = mask[row * total + own.length] === 1;
      own.push(shown ? link(own.at(-1) ?? 0, ids[row * seq + i] as number, positions[row * seq + i] as number) : 0);
    }
    return own.map((one, column) => (mask[row * total + column] === 1 ? one : 0));
  });
  const last = Array.from(numbers(feeds, "last_token_ids"), index => total - seq + index);
  const dims = [rows, HEADS, total, HEAD_DIM];
  return {
    present_key_0: make("float32", spread(links, total, 1), dims),
    present_value_0: make("float32", spread(links, total, -1), dims),
    logits: logitsOf(links, last, make),
  };
}

function runStatic(feeds: Feeds, make: MakeTensor): Fetches {
  const [ids, positions, at] = [
    numbers(feeds, "input_ids"),
    numbers(feeds, "position_ids"),
    numbers(feeds, "cache_lengths"),
  ];
  const [rows, seq] = (feeds.input_ids as Tensor).dims as [number, number];
  const cache = feeds.cache_key_0 as Tensor;
  const columns = cache.dims[2] as number;
  const links = Array.from({ length: rows }, (_, row) => {
    const own = linksOf(cache, row);
    for (let i = 0; i < seq; i++) {
      const column = (at[row] as number) + i;
      if (column >= columns) throw new Error("written past the cache");
      own[column] = link(
        column === 0 ? 0 : (own[column - 1] as number),
        ids[row * seq + i] as number,
        positions[row * seq + i] as number,
      );
    }
    return own;
  });
  const last = Array.from(numbers(feeds, "last_token_ids"), (index, row) => (at[row] as number) + index);
  return {
    cache_key_0_out: make("float32", spread(links, columns, 1), cache.dims),
    cache_value_0_out: make("float32", spread(links, columns, -1), cache.dims),
    logits: logitsOf(links, last, make),
  };
}

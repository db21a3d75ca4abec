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
    run: async (feeds, into = {}) => {
      if ("block_table" in feeds) return runPaged(feeds, into, tensor);
      return "cache_lengths" in feeds ? runStatic(feeds, tensor) : runContinuous(feeds, tensor);
    },
  } as OrtGraph;
}

/** An engine's config with the chain's inputs; block size and kind of cache as asked. */
export function chainConfig(of: {
  readonly kind: "continuous" | "static" | "paged";
  readonly capacity: number;
  readonly tokens: number;
}): LlmEngineConfig {
  const cache = (name: string, columns: number): EngineIo => {
    const shape = [-1, HEADS, columns, HEAD_DIM];
    return { name, kind: "input", dtype: "float32", shape, dims: shape };
  };
  const logits: EngineIo = { name: "logits", kind: "output", dtype: "float32", shape: [-1, 2], dims: [-1, 2] };
  const prefix = of.kind === "continuous" ? "past" : "cache";
  const columns = { continuous: -1, static: of.capacity, paged: of.tokens }[of.kind];
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

/** Pages [pages, heads, tokens, head_dim] by a table, written in place as ONNX Runtime does where it is given the pool to write into. */
function runPaged(feeds: Feeds, into: Fetches, make: MakeTensor): Fetches {
  const [ids, positions, at, table] = [
    numbers(feeds, "input_ids"),
    numbers(feeds, "position_ids"),
    numbers(feeds, "cache_lengths"),
    numbers(feeds, "block_table"),
  ];
  const [rows, seq] = (feeds.input_ids as Tensor).dims as [number, number];
  const [keys, values] = [into.cache_key_0_out as Tensor, into.cache_value_0_out as Tensor];
  const tokens = keys.dims[2] as number;
  const width = table.length / rows;
  const links = Array.from({ length: rows }, (_, row) => {
    const own = Array.from({ length: width }, (_, i) => linksOf(keys, table[row * width + i] as number)).flat();
    for (let i = 0; i < seq; i++) {
      const column = (at[row] as number) + i;
      const page = table[row * width + Math.floor(column / tokens)];
      // What pads a row on the right goes to page 0 or behind its tokens.
      const before = column === 0 ? 0 : (own[column - 1] as number);
      own[column] = link(before, ids[row * seq + i] as number, positions[row * seq + i] as number);
      if (page === undefined || page === 0) continue;
      for (const [sign, pool] of [
        [1, keys],
        [-1, values],
      ] as const) {
        const one = spread([[own[column] as number]], 1, sign);
        for (let head = 0; head < HEADS; head++)
          (pool.data as Float32Array).set(
            one.subarray(head * HEAD_DIM, (head + 1) * HEAD_DIM),
            ((page * HEADS + head) * tokens + (column % tokens)) * HEAD_DIM,
          );
      }
    }
    return own;
  });
  const last = Array.from(numbers(feeds, "last_token_ids"), (index, row) => (at[row] as number) + index);
  return { cache_key_0_out: keys, cache_value_0_out: values, logits: logitsOf(links, last, make) };
}

import { describe, expect, it } from "vitest";
import { expectedTensors, mapWeights } from "../../src/checkpoint/map.ts";
import type { Parallel } from "../../src/checkpoint/shard.ts";
import { MODERN } from "../../src/graph/dialect.ts";
import type { Graph } from "../../src/graph/graph.ts";
import type { Architecture, GraphOptions } from "../../src/models/architecture.ts";
import { readModel } from "../../src/models/registry.ts";
import type { ModelSpec } from "../../src/models/spec.ts";
import { elementCount, recipeBytes, rowBytes, type StoredTensor, type TensorRecipe } from "../../src/tensor/index.ts";

export interface ArchitectureCase {
  /** A config.json of odd sizes that 2 and 4 ranks and 2 stages divide. */
  readonly config: Readonly<Record<string, unknown>>;
  /** What the spec must hold; compared with `toMatchObject`. */
  readonly spec: object;
  /** Stored names in other layouts of the same model: from the canonical-free, usual name to the other one. */
  readonly layouts?: readonly ((name: string) => string)[];
  /** Tensors that transformers saves; every one is used or known to be of no use. */
  readonly tensors: Readonly<Record<string, readonly number[]>>;
}

const SINGLE: Parallel = {
  tpSize: 1,
  ppSize: 1,
  parallelEmbedding: false,
  embeddingShardingDim: 0,
  shareEmbedding: false,
};

/** What holds for every architecture, run by the three lines of its own test. */
export function describeArchitecture(architecture: Architecture, given: ArchitectureCase): void {
  const { spec, architecture: found } = readModel(given.config);
  const weights = architecture.weights(spec);
  const stored = storedOf(given.tensors);
  const map = (parallel: Parallel, tensors = stored): ReturnType<typeof mapWeights> =>
    mapWeights(tensors, spec, weights, parallel, "float32");

  describe(architecture.hf[0] ?? "", () => {
    it("is found by its class name and reads its config", () => {
      expect(found).toBe(architecture);
      expect(spec).toMatchObject(given.spec);
    });

    it("uses every stored tensor or knows that it is of no use", () => {
      const { coverage } = map(SINGLE);
      expect(coverage.used + coverage.ignored.length).toBe(stored.size);
      expect([...coverage.ignored].sort()).toEqual((weights.unused ?? []).map(({ name }) => name).sort());
    });

    it.each([
      [1, 1],
      [2, 1],
      [4, 1],
      [2, 2],
    ])("gives tp_size %i, pp_size %i the tensors that its graph asks for, in name and shape", (tpSize, ppSize) => {
      const parallel = { ...SINGLE, tpSize, ppSize };
      for (const [rank, recipes] of map(parallel).ranks.entries()) {
        const graph = architecture.languageGraph(spec, { ...graphOptions(spec), tpSize, ppSize, rank });
        expect(shapesOf(recipes)).toEqual(weightsOf(graph));
      }
    });

    it("gives the visual graph its tensors", () => {
      const graph = architecture.visualGraph?.(spec, graphOptions(spec));
      expect(shapesOf(map(SINGLE).visual)).toEqual(graph ? weightsOf(graph) : {});
    });

    it("shares each tensor out among 4 ranks without loss: every value is there as often as in one rank, or in copies", async () => {
      const whole = await census(map(SINGLE).ranks.flat());
      const shared = await census(map({ ...SINGLE, tpSize: 4, ppSize: 2 }).ranks.flat());
      expect([...shared.keys()].sort()).toEqual([...whole.keys()].sort());
      const odd = [...whole].filter(
        ([value, times]) => ![times, 2 * times, 4 * times].includes(shared.get(value) ?? 0),
      );
      expect(odd).toEqual([]);
    });

    it.each((given.layouts ?? []).map((layout, i) => [i, layout] as const))(
      "gives the same bytes from name layout %i",
      async (_, layout) => {
        const renamed = new Map([...stored].map(([name, tensor]) => [layout(name), { ...tensor, name: layout(name) }]));
        const [usual, other] = [map(SINGLE), map(SINGLE, renamed)];
        for (const [i, recipe] of [...usual.ranks.flat(), ...usual.visual].entries()) {
          const twin = [...other.ranks.flat(), ...other.visual][i] as TensorRecipe;
          expect(twin.name).toBe(recipe.name);
          expect(await bytesOf(twin)).toEqual(await bytesOf(recipe));
        }
      },
    );

    it("expects from the spec alone what the mapping gives", () => {
      const parallel = { ...SINGLE, tpSize: 2, parallelEmbedding: true };
      const expected = expectedTensors(spec, weights, parallel, "float32");
      expect(expected.map(shapesOf)).toEqual(map(parallel).ranks.map(shapesOf));
    });
  });
}

/** Every element a different float, so that no two places can be mistaken for each other; odd, so that one more is none of them. */
function storedOf(tensors: ArchitectureCase["tensors"]): ReadonlyMap<string, StoredTensor> {
  let next = -1;
  return new Map(
    Object.entries(tensors).map(([name, shape]) => {
      const values = Float32Array.from({ length: elementCount(shape) }, () => {
        next += 2;
        return next;
      });
      const bytes = new Uint8Array(values.buffer);
      const size = rowBytes("float32", shape);
      const readRows = async (start: number, end: number): Promise<Uint8Array> =>
        bytes.subarray(start * size, end * size);
      return [name, { name, dtype: "float32", shape, at: "memory, byte 0", readRows }];
    }),
  );
}

function graphOptions(spec: ModelSpec): GraphOptions {
  return {
    weightDtype: "float32",
    computeDtype: "float32",
    tpSize: 1,
    ppSize: 1,
    rank: 0,
    kvCache: { type: "continuous" },
    dialect: MODERN,
    promptTable: spec.vision !== undefined,
  };
}

function shapesOf(recipes: readonly TensorRecipe[]): Record<string, readonly number[]> {
  return Object.fromEntries(recipes.map(({ name, shape }) => [name, shape]));
}

/** Initializers that the weights file has to give; constants of the graph have bytes of their own. */
function weightsOf(graph: Graph): Record<string, readonly number[]> {
  return Object.fromEntries(
    graph.initializers
      .filter(({ bytes }) => bytes === undefined)
      .map(({ value }) => [value.name, value.shape as number[]]),
  );
}

async function bytesOf(recipe: TensorRecipe): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of recipeBytes(recipe, 999)) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

/** How often each value occurs; zeros are padding. */
async function census(recipes: readonly TensorRecipe[]): Promise<Map<number, number>> {
  const counts = new Map<number, number>();
  for (const recipe of recipes) {
    const bytes = new Uint8Array(await bytesOf(recipe));
    for (const value of new Float32Array(bytes.buffer))
      if (value !== 0) counts.set(value, (counts.get(value) ?? 0) + 1);
  }
  return counts;
}

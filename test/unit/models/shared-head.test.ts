import { expect, it } from "vitest";
import { MODERN } from "../../../src/graph/dialect.ts";
import { verifyGraph } from "../../../src/graph/verify.ts";
import { readModel } from "../../../src/models/registry.ts";

it("a shared word table gives the logits too, and there is no lm_head in the graph", () => {
  const config = {
    architectures: ["GPT2LMHeadModel"],
    n_embd: 42,
    n_layer: 1,
    n_head: 6,
    n_positions: 61,
    vocab_size: 97,
  };
  const { architecture, spec } = readModel(config);
  const graph = architecture.languageGraph(spec, {
    weightDtype: "float32",
    computeDtype: "float32",
    tpSize: 1,
    ppSize: 1,
    rank: 0,
    kvCache: { type: "continuous" },
    dialect: MODERN,
    promptTable: false,
    shareEmbedding: true,
  });
  expect(verifyGraph(graph)).toEqual([]);
  const names = graph.initializers.map(({ value }) => value.name);
  expect(names).not.toContain("lm_head.weight");
  expect(names.filter(name => name === "transformer.vocab_embedding.weight")).toHaveLength(1);
});

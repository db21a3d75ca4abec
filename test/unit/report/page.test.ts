import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { BuildPlan } from "../../../src/build/plan.ts";
import { type EngineStatistics, groupOf, planStatistics } from "../../../src/build/statistics.ts";
import { tickStep } from "../../../src/report/bars.ts";
import { html } from "../../../src/report/html.ts";
import { renderReport } from "../../../src/report/page.ts";
import { rangeRows } from "../../../src/report/ranges.ts";
import type { BuildResult } from "../../../src/report/result.ts";
import { convertFixture, planFor } from "../../support/checkpoints.ts";

const date = new Date("2026-01-19T09:08:07Z");
const HOSTILE = `<img src=x onerror="alert('1')">&amp;`;
let dir: string;
let plan: BuildPlan;
let statistics: readonly EngineStatistics[];

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "mmtrt-page-"));
  const checkpoint = await convertFixture("llava_mqa", join(dir, "llava"));
  plan = await planFor(checkpoint, join(dir, "engines"), { max_batch_size: 3 });
  statistics = await planStatistics(plan);
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const report = (
  given: { plan?: BuildPlan; statistics?: readonly EngineStatistics[]; result?: BuildResult } = {},
): string => renderReport({ plan, statistics, result: null, date, ...given });

const result: BuildResult = {
  steps: [
    { id: "graph llm/rank0", seconds: 0.019 },
    { id: "engine llm/rank0", seconds: 989 },
  ],
  engines: [
    {
      ...{
        name: "llm/rank0",
        bytes: 19 * 2 ** 20,
        builder: "trtexec",
        tensorrt: "10.13.2",
        sm: [89, 120],
        seconds: 989,
      },
      ...{ io_from: "engine", layers: { MATRIX_MULTIPLY: 41 }, engine_layers: { kgen: 19, shape_call: 1 } },
      ...{ memory_bytes: { weights: 2 ** 20, activation: 3 * 2 ** 20 }, peak_host_mib: 512, log: "logs/llm.rank0.log" },
    },
  ],
  written_bytes: 1024,
  linked_bytes: 2048,
  seconds: 990,
};

describe("the report", () => {
  it("has a section for each thing a plan knows, and none for what only a build knows", () => {
    const headings = (page: string) => [...page.matchAll(/<h2>([^<]*)<\/h2>/g)].map(([, text]) => text);
    expect(headings(report())).toEqual(["Memory", "Optimization profiles", "Graphs", "Weights"]);
    expect(headings(report({ result }))).toEqual([
      ...["Memory", "Optimization profiles", "Graphs", "Weights", "Time", "Engines"],
    ]);
  });

  it("carries the stamp: version, fingerprint and the hash of each graph", () => {
    const page = report();
    expect(page).toContain(`mmtrt ${plan.version}`);
    expect(page).toContain(plan.fingerprint);
    for (const { graph } of plan.engines) expect(page).toContain(graph.onnx_sha256.slice(0, 16));
    expect(page).toContain("2026-01-19 09:08 UTC");
  });

  it("shows what TensorRT says of the engines", () => {
    const page = report({ result });
    expect(page).toContain("Layers of llm/rank0 after fusion");
    expect(page).toMatch(
      /<td class="">trtexec 10\.13\.2<\/td><td class="">89, 120<\/td><td class="">19\.0 MiB<\/td><td class="">989 s<\/td>/,
    );
    for (const text of ["kgen", "shape_call", "graph llm/rank0", "19 ms"]) expect(page).toContain(`>${text}</text>`);
  });

  it("shows problems in full and does without graphs when there are any", async () => {
    const refused = await planFor(plan.checkpoint_dir, join(dir, "refused"), { max_multimodal_len: 1 });
    const page = report({ plan: refused, statistics: await planStatistics(refused) });
    for (const { code, what, why, fix } of refused.problems)
      for (const text of [code, what, why, fix]) expect(page).toContain(html`${text}`.text);
    expect(refused.problems.length).toBeGreaterThan(0);
    expect(page).not.toContain("<h2>Graphs</h2>");
  });

  it("escapes whatever names it is given, in text, tables and charts", () => {
    const [engine] = plan.engines;
    const [input] = engine?.io ?? [];
    const [first] = statistics;
    if (engine === undefined || input === undefined || first === undefined) throw new Error("the plan is empty");
    const hostile: BuildPlan = {
      ...plan,
      ...{ checkpoint_dir: HOSTILE, output_dir: HOSTILE, version: HOSTILE, fingerprint: HOSTILE },
      model: { ...plan.model, architecture: HOSTILE },
      options: { [HOSTILE]: [HOSTILE] },
      engines: [{ ...engine, name: HOSTILE, io: [{ ...input, name: HOSTILE, dims: [HOSTILE] }] }],
      warnings: [{ code: "BLD009", what: HOSTILE, at: HOSTILE, why: HOSTILE, fix: HOSTILE }],
      memory: {
        ...plan.memory,
        ranks: [{ rank: 0, total: 1, steps: [], items: [{ what: "weights", bytes: 1, formula: HOSTILE }] }],
      },
    };
    const page = report({
      plan: hostile,
      statistics: [
        {
          name: HOSTILE,
          ops: { [HOSTILE]: 19 },
          weights: [{ group: HOSTILE, dtype: "float16", tensors: 1, bytes: 19 }],
        },
      ],
      result: { ...result, steps: [{ id: HOSTILE, seconds: 1 }] },
    });
    expect(page).not.toMatch(/<img|<\/title><|onerror="/);
    expect(page.match(/&lt;img src=x onerror=/g)?.length).toBeGreaterThan(20);
  });

  it("is the same page for the same build", () => {
    const withoutIds = (page: string) => page.replaceAll(/zr\d+/g, "zr");
    expect(withoutIds(report({ result }))).toBe(withoutIds(report({ result })));
  });
});

describe("statistics", () => {
  it("count every node once and every byte of the weights that graphs use", () => {
    for (const [i, { ops, weights }] of statistics.entries()) {
      const { graph } = plan.engines[i] ?? {};
      expect(Object.values(ops).reduce((a, b) => a + b, 0)).toBe(graph?.nodes);
      expect(weights.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(graph?.weight_bytes);
    }
    expect(statistics.map(({ name }) => name)).toEqual(["llm/rank0", "visual"]);
  });

  it.each([
    ["transformer.layers.19.attention.qkv.weight", "attention"],
    ["vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.bias", "self_attn"],
    ["transformer.vocab_embedding.weight", "vocab_embedding"],
    ["query_tokens", "query_tokens"],
  ])("put %s to %s", (tensor, group) => {
    expect(groupOf(tensor)).toBe(group);
  });
});

describe("ranges", () => {
  it("are one row an input and size, of all layers' caches together", () => {
    const rows = rangeRows(plan.engines[0]!);
    expect(rows.map(({ label }) => label)).toContain("past_key_* · past");
    expect(rows.filter(({ label }) => label.startsWith("past_key")).length).toBe(2);
    expect(rows.find(({ label }) => label === "input_ids · batch")?.ranges).toEqual([
      [1, 2, 3],
      [1, 2, 3],
    ]);
  });
});

describe("ticks", () => {
  it.each([
    [989, 6, 1, 200],
    [19, 6, 1, 5],
    [38.7 * 2 ** 30, 6, 2 ** 30, 10 * 2 ** 30],
    [0, 6, 1, 1],
    [0.05, 6, 1, 0.01],
  ])("of %d in at most %d steps of %d are %d apart", (value, most, unit, step) => {
    expect(tickStep(value, most, unit)).toBeCloseTo(step, 9);
  });
});

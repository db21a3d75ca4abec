import { afterAll, expect, it } from "vitest";
import type { BuildEvent } from "../../src/build/events.ts";
import { openEngine } from "../../src/formats/engine-dir.ts";
import { readOnnx } from "../../src/formats/onnx/read.ts";
import { toldOf } from "../support/engine-files.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { resized } from "../support/ranks.ts";
import { describeTensorRT } from "../support/tensorrt.ts";

const work = new Workspace();
afterAll(() => work.clean());

/** Nothing runs here: that takes as many GPUs as there are ranks. */
describeTensorRT("engines of ranks", python => {
  it.each([
    ["float16", 2, 1, 0],
    ["bfloat16", 2, 2, 1],
    ["float32", 2, 1, undefined],
  ] as const)(
    "in %s, tp %i, pp %i, table split on %s, are built side by side with their collectives",
    async (dtype, tpSize, ppSize, table) => {
      const model = await resized(work, "llama_gqa", { num_hidden_layers: 2 });
      const parallel = {
        tpSize,
        ppSize,
        parallelEmbedding: table !== undefined,
        embeddingShardingDim: table ?? 0,
        shareEmbedding: false,
      };
      const events: BuildEvent[] = [];
      const tensorrt = { backend: "tensorrt_rtx", python, compute_capabilities: [89], workers: 2 } as const;
      const dir = await buildTo(
        work,
        await convertTo(work, model, dtype, { parallel }),
        { max_batch_size: 3, max_input_len: 24, max_seq_len: 40, ...tensorrt },
        { env: { PATH: "/nowhere" }, onEvent: event => events.push(event) },
      );
      const { llmParts } = await openEngine(dir);
      expect(llmParts.length).toBe(tpSize * ppSize);
      for (const part of llmParts) {
        const { graph } = await readOnnx(part.onnx);
        const collectives = graph.node.filter(({ opType }) => opType === "DistCollective").length;
        expect(collectives).toBeGreaterThan(0);
        expect(part.built?.layers?.DIST_COLLECTIVE).toBe(collectives);
        const outputs = toldOf(dir, part.name)
          .io.tensors.filter(({ kind }) => kind === "output")
          .map(({ name }) => name);
        expect(outputs.sort()).toEqual(graph.output.map(({ name }) => name).sort());
      }
      const steps = events.flatMap(event =>
        event.event === "step" && event.id.startsWith("engine ") ? [event.state] : [],
      );
      expect(steps.slice(0, 2)).toEqual(["start", "start"]);
    },
  );
});

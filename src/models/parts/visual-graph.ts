import type { Graph } from "../../graph/graph.ts";
import { GraphBuilder } from "../../graph/ops.ts";
import { encoderPlugins } from "../../layers/fused/bert-attention.ts";
import { WeightSource } from "../../layers/weights.ts";
import { arrangesFeatures } from "../../vision/index.ts";
import type { GraphOptions, NameRule, VisualRule } from "../architecture.ts";
import type { ModelSpec } from "../spec.ts";
import { project, projectorWeights } from "./projector.ts";
import { qformer, qformerWeights } from "./qformer.ts";
import { vitTower } from "./vit-graph.ts";
import { towerWeights } from "./vit-weights.ts";

/**
 * Image encoder, Q-Former where there is one, projector: pixels [batch, 3, H, W] → features [batch, N, llm_hidden], and beside them
 * `image_newline` [llm_hidden] where rows of features end with it.
 */
export function visualGraph(spec: ModelSpec, options: GraphOptions): Graph {
  const { vision, qformer: queries, projector } = spec;
  if (vision === undefined || projector === undefined)
    throw new Error(`${spec.architecture} has no vision tower to build`);
  const g = new GraphBuilder("visual", options.dialect, encoderPlugins(options.plugins));
  const w = new WeightSource(options.weightDtype, options.computeDtype);
  const pixels = g.input("input", options.computeDtype, ["batch", vision.channels, vision.imageSize, vision.imageSize]);
  const seen = g.tap("vision", vitTower(g, w, vision, pixels));
  const asked =
    queries === undefined
      ? seen
      : g.tap(
          "qformer",
          g.scope("qformer", () => qformer(g, w, queries, seen)),
        );
  const projected = g.scope("projector", () => project(g, w, projector, asked));
  g.output(g.tap("projector", projected), "output");
  if (hasNewline(spec)) {
    const newline = w.get(g, NEWLINE, [projector.outputSize]);
    // A node between: a stored tensor is no output itself.
    g.output(g.node("Identity", [newline], newline), "image_newline");
  }
  return g.finish();
}

/** Tensors of all visual parts that the spec names. */
export function visualWeights(spec: ModelSpec): VisualRule[] {
  const { vision, qformer: queries, projector } = spec;
  return [
    ...(vision ? towerWeights(vision) : []),
    ...(queries ? qformerWeights(queries) : []),
    ...(projector ? projectorWeights(projector) : []),
    ...(projector && hasNewline(spec) ? [{ name: NEWLINE, shape: [projector.outputSize] }] : []),
  ];
}

/** As transformers 5 stores it; the bare name is the output's. */
const NEWLINE = "model.image_newline";

export const NEWLINE_NAMES: readonly NameRule[] = [{ stored: /^image_newline$/, canonical: NEWLINE }];

function hasNewline({ visualTokens }: ModelSpec): boolean {
  return visualTokens !== undefined && arrangesFeatures(visualTokens);
}

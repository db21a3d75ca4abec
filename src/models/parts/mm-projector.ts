import type { ConfigReader } from "../config-reader.ts";
import type { ProjectorSpec, VisionSpec } from "../spec.ts";
import { foldedRows } from "./projector.ts";

/** `mlp12x_gelu` is deeper than any published one. */
const MAX_DEPTH = 12;

/** `mm_projector_type` of LLaVA's own code and of VILA, with the rows an image then gives. */
export function readMmProjector(
  c: ConfigReader,
  vision: VisionSpec,
  hidden: number,
): { readonly spec: ProjectorSpec; readonly rows: number } {
  const type = c.text("mm_projector_type", "linear");
  const rows = vision.numVisualFeatures;
  const spec: ProjectorSpec = {
    kind: "mlp",
    depth: 1,
    inputSize: vision.hiddenSize,
    hiddenSize: hidden,
    outputSize: hidden,
    activation: "gelu",
    bias: true,
  };
  if (type === "linear") return { spec, rows };
  if (type === "mlp_downsample") return { spec: downsampled(spec), rows: foldedRows(rows) ?? noSquare(c, rows) };
  if (type === "identity") {
    if (vision.hiddenSize !== hidden) notAsWide(c, vision.hiddenSize, hidden);
    return { spec: { ...spec, kind: "identity" }, rows };
  }
  const depth = Number(/^mlp(\d{1,2})x_gelu$/.exec(type)?.[1] ?? 0);
  if (depth >= 1 && depth <= MAX_DEPTH) return { spec: { ...spec, depth }, rows };
  c.problem(
    "SPC004",
    "mm_projector_type",
    `is ${JSON.stringify(type.slice(0, 100))}; supported: linear, mlpNx_gelu (N up to ${MAX_DEPTH}), mlp_downsample, identity`,
    "it decides which layers lie between the image encoder and the language model",
    "convert a checkpoint with one of these projectors",
  );
  return { spec, rows };
}

function downsampled({ depth: _, ...spec }: ProjectorSpec): ProjectorSpec {
  return { ...spec, kind: "mlp_downsample" };
}

function noSquare(c: ConfigReader, rows: number): number {
  c.problem(
    "SPC006",
    "mm_projector_type",
    `is "mlp_downsample", but the vision tower gives ${rows} rows, which are no square`,
    "it folds a square grid of patches; a class token among them does not belong to the grid",
    'give mm_vision_select_feature as it was trained: "patch" for CLIP, "cls_patch" for SigLIP',
  );
  return rows;
}

function notAsWide(c: ConfigReader, from: number, to: number): void {
  c.problem(
    "SPC006",
    "mm_projector_type",
    `is "identity", but the vision tower's rows are ${from} wide and the language model's ${to}`,
    "without a projector the two must be of one width",
    "use the config.json that belongs to these weights",
  );
}

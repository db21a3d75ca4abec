import type { PackedVisionSpec, SwinSpec } from "../../models/spec.ts";
import { bytesOf } from "./bytes.ts";
import type { MemoryInput, MemoryItem } from "./types.ts";

/** The visual engine is whole on every GPU: images are few and its weights are small beside the language model's. */
export function visualItems(input: MemoryInput): MemoryItem[] {
  const { vision: v, swin, visualBatch = input.maxBatchSize } = input;
  if (swin !== undefined) return swinItems(input, swin);
  if (input.packedVision !== undefined) return packedItems(input, input.packedVision);
  if (v === undefined) return [];
  const c = bytesOf(input.computeDtype);
  const tokens = Math.floor(v.imageSize / v.patchSize) ** 2 + 1;
  const width = 2 * v.hiddenSize + Math.max(4 * v.hiddenSize, 2 * v.intermediateSize);
  const pixels = v.channels * v.imageSize ** 2;
  const scores = input.scoresInMemory ? v.heads * tokens * tokens * 4 : 0;
  return [
    visualWeights(input),
    {
      what: "visual_activations",
      bytes: visualBatch * ((tokens * width + pixels) * c + scores),
      formula:
        `images ${visualBatch} × ((tokens ${tokens} × width ${width} + pixels ${pixels}) × ${c} B` +
        `${input.scoresInMemory ? ` + scores ${v.heads} × ${tokens}² × 4 B` : ""})`,
    },
  ];
}

/** The first stage has the widest buffers: patches are quartered from stage to stage, and channels doubled. */
function swinItems(input: MemoryInput, swin: SwinSpec): MemoryItem[] {
  const { visualBatch = input.maxBatchSize } = input;
  const c = bytesOf(input.computeDtype);
  const [height, width] = swin.imageSize;
  const tokens = Math.ceil(height / swin.patchSize[0]) * Math.ceil(width / swin.patchSize[1]);
  const channels = Math.ceil(swin.embedSize * (2 + Math.max(4, 2 * swin.mlpRatio)));
  const pixels = swin.channels * height * width;
  const window = swin.windowSize ** 2;
  const scores = input.scoresInMemory ? (swin.heads[0] ?? 1) * tokens * window * 4 : 0;
  return [
    visualWeights(input),
    {
      what: "visual_activations",
      bytes: visualBatch * ((tokens * channels + pixels) * c + scores),
      formula:
        `images ${visualBatch} × ((patches ${tokens} × width ${channels} + pixels ${pixels}) × ${c} B` +
        `${input.scoresInMemory ? ` + scores ${swin.heads[0]} × ${tokens} × window ${window} × 4 B` : ""})`,
    },
  ];
}

/** Patches of one call, and which of them see each other: a byte for each two. */
function packedItems(input: MemoryInput, v: PackedVisionSpec): MemoryItem[] {
  const { visualBatch: patches = input.maxBatchSize } = input;
  const c = bytesOf(input.computeDtype);
  const merged = 2 * v.hiddenSize + v.outputSize / v.mergeSize ** 2;
  const width = 2 * v.hiddenSize + Math.max(4 * v.hiddenSize, 2 * v.intermediateSize, merged);
  const pixels = v.channels * v.temporalPatchSize * v.patchSize ** 2;
  const pair = input.scoresInMemory ? 1 + v.heads * 4 : 1;
  return [
    visualWeights(input),
    {
      what: "visual_activations",
      bytes: patches * (width + pixels) * c + patches * patches * pair,
      formula:
        `patches ${patches} × (width ${width} + values ${pixels}) × ${c} B + patches ${patches}² × ` +
        `${input.scoresInMemory ? `(mask 1 B + scores ${v.heads} × 4 B)` : "mask 1 B"}`,
    },
  ];
}

function visualWeights({ visualWeights: bytes }: MemoryInput): MemoryItem {
  return { what: "visual_weights", bytes, formula: "visual/model.safetensors as loaded" };
}

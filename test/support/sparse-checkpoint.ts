import { closeSync, ftruncateSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { type CheckpointManifest, rankFile } from "../../src/checkpoint/manifest.ts";
import { expectedTensors } from "../../src/checkpoint/map.ts";
import { publishedModels } from "../../src/checkpoint/published.ts";
import type { Parallel } from "../../src/checkpoint/shard.ts";
import { visualConfig } from "../../src/checkpoint/visual-config.ts";
import { encodeHeader, type TensorDescription } from "../../src/formats/safetensors.ts";
import { readModel } from "../../src/models/registry.ts";
import { byteLength, type FloatDtype } from "../../src/tensor/index.ts";

const MODELS = await publishedModels();

/**
 * A converted checkpoint of a published model's shapes whose weights are holes: 140 GB that take a few kB of disk.
 * Planning and emission read headers only, so they cannot tell; running it would give zeros.
 */
export function sparseCheckpoint(
  dir: string,
  preset: string,
  { dtype = "float16", tpSize = 1, ppSize = 1 }: { dtype?: FloatDtype; tpSize?: number; ppSize?: number } = {},
): string {
  const hf = MODELS.find(({ name, aliases }) => [name, ...aliases].includes(preset))?.config ?? {};
  const { architecture, spec } = readModel(hf);
  const parallel: Parallel = {
    tpSize,
    ppSize,
    parallelEmbedding: false,
    embeddingShardingDim: 0,
    shareEmbedding: false,
  };
  const weights = architecture.weights(spec);
  const files: { name: string; size: number }[] = [];
  const hole = (name: string, tensors: readonly TensorDescription[]): void => {
    files.push({ name, size: writeHole(join(dir, name), tensors) });
  };
  for (const [rank, tensors] of expectedTensors(spec, weights, parallel, dtype).entries())
    hole(rankFile(rank), tensors);
  const write = (name: string, value: unknown): void => writeFileSync(join(dir, name), JSON.stringify(value));
  if (weights.visual.length > 0) {
    hole(
      "visual/model.safetensors",
      weights.visual.map(({ name, shape }) => ({ name, dtype, shape })),
    );
    write("visual/config.json", visualConfig(spec, dtype));
  }
  const manifest: CheckpointManifest = {
    kind: "checkpoint",
    format: 1,
    version: "0.0.0-test",
    fingerprint: `sparse ${preset}`,
    architecture: spec.architecture,
    source: { format: "safetensors", files: [] },
    options: {
      dtype,
      tp_size: tpSize,
      pp_size: ppSize,
      use_parallel_embedding: false,
      embedding_sharding_dim: 0,
      use_embedding_sharing: false,
    },
    files,
    coverage: { language: 0, visual: 0, ignored: 0 } as unknown as CheckpointManifest["coverage"],
    non_finite: [],
    warnings: [],
  };
  write("mmtrt.json", manifest);
  write("config.json", architecture.checkpointConfig(spec, { ...parallel, dtype, fromMeta: false }));
  write("hf_config.json", hf);
  return dir;
}

function writeHole(path: string, tensors: readonly TensorDescription[]): number {
  mkdirSync(dirname(path), { recursive: true });
  const { header } = encodeHeader(tensors);
  const size = tensors.reduce((total, { dtype, shape }) => total + byteLength(dtype, shape), header.byteLength);
  const file = openSync(path, "w");
  writeSync(file, header);
  ftruncateSync(file, size);
  closeSync(file);
  return size;
}

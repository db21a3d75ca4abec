import { convert as convertCheckpoint } from "../../checkpoint/convert.ts";
import { convertOptions } from "../../options/tables/convert.ts";
import { defineCommand } from "../command.ts";
import { localPaths } from "../hub.ts";
import { VERSION } from "../version.ts";

export const convert = defineCommand({
  name: "convert",
  options: convertOptions,
  async run({ options, origin, ui, signal }) {
    const { paths, hub } = await localPaths({ ui, signal, origin }, [
      { key: "model_dir", value: options.model_dir, revision: options.revision },
      { key: "vision_tower_dir", value: options.vision_tower_dir },
      { key: "llm_dir", value: options.llm_dir },
    ]);
    const [modelDir, visionTowerDir, llmDir] = paths;
    const result = await convertCheckpoint({
      modelDir,
      metaDir: options.meta_ckpt_dir,
      visionTowerDir,
      llmDir,
      hub,
      outputDir: options.output_dir,
      dtype: options.dtype === "auto" ? (options.weight_data_type ?? "auto") : options.dtype,
      parallel: {
        tpSize: options.tp_size,
        ppSize: options.pp_size,
        parallelEmbedding: options.use_parallel_embedding,
        embeddingShardingDim: options.embedding_sharding_dim === 1 ? 1 : 0,
        shareEmbedding: options.use_embedding_sharing,
      },
      quantization: options,
      measure: async (request, quant) => (await import("../measure.ts")).measureFor(request, quant, ui),
      workers: options.workers,
      strict: options.strict,
      hash: options.hash,
      version: VERSION,
      origin,
      signal,
      onProgress: ({ event: _, ...progress }) => ui.progress(progress),
    });
    for (const warning of result.warnings) ui.warn(warning);
    const { outputDir, status, bytes, files, settings, model } = result;
    const what = `${model.spec.architecture}, ${settings.dtype}, tp_size ${settings.tp_size}, pp_size ${settings.pp_size}`;
    const verb = {
      converted: "converted",
      resumed: "converted (continued an interrupted run)",
      unchanged: "already converted",
    }[status];
    ui.result(`${verb}: ${outputDir} (${what}; ${files.length} weight files, ${(bytes / 1e9).toFixed(2)} GB)`, {
      output_dir: outputDir,
      status,
      architecture: model.spec.architecture,
      ...settings,
      files,
      bytes,
    });
  },
});

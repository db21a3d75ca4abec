import type { Rule } from "./rule.ts";
import { divisors, inCheckpoint } from "./rule.ts";

const CONVERT_AGAIN = "convert again with --tp_size";

export const headsSplitEvenly: Rule = context => {
  const { heads } = context.spec.language;
  const { tpSize } = context.checkpoint;
  if (heads % tpSize === 0) return undefined;
  return {
    code: "BLD020",
    what: `tp_size ${tpSize} does not divide ${heads} attention heads`,
    at: inCheckpoint(context, "mapping.tp_size"),
    why: "every rank holds the same number of whole heads",
    fix: `${CONVERT_AGAIN} one of ${divisors(heads).join(", ")}`,
  };
};

export const kvHeadsSplitEvenly: Rule = context => {
  const { kvHeads, heads } = context.spec.language;
  const { tpSize } = context.checkpoint;
  if (kvHeads % tpSize === 0 || tpSize % kvHeads === 0) return undefined;
  const usable = divisors(heads).filter(tp => kvHeads % tp === 0 || tp % kvHeads === 0);
  return {
    code: "BLD021",
    what: `tp_size ${tpSize} does not fit ${kvHeads} key/value heads`,
    at: inCheckpoint(context, "mapping.tp_size"),
    why: "a rank holds whole KV heads or whole copies of one; part of a head cannot be attended to",
    fix: `${CONVERT_AGAIN} one of ${usable.join(", ")}`,
  };
};

export const layersSplitEvenly: Rule = context => {
  const { layers } = context.spec.language;
  const { ppSize } = context.checkpoint;
  if (layers % ppSize === 0) return undefined;
  return {
    code: "BLD022",
    what: `pp_size ${ppSize} does not divide ${layers} layers`,
    at: inCheckpoint(context, "mapping.pp_size"),
    why: "every pipeline stage holds the same number of layers, and none may be dropped",
    fix: `convert again with --pp_size one of ${divisors(layers).join(", ")}`,
  };
};

export const worldIsProduct: Rule = context => {
  const { tpSize, ppSize, worldSize } = context.checkpoint;
  if (worldSize === tpSize * ppSize) return undefined;
  return {
    code: "BLD023",
    what: `world_size ${worldSize} is not tp_size ${tpSize} × pp_size ${ppSize}`,
    at: inCheckpoint(context, "mapping.world_size"),
    why: "a rank is one tensor part of one pipeline stage, so there are tp_size × pp_size of them",
    fix: `convert again, or set world_size to ${tpSize * ppSize} if only the number is wrong`,
  };
};

export const mlpSplitsEvenly: Rule = context => {
  const { intermediateSize } = context.spec.language;
  const { tpSize } = context.checkpoint;
  if (intermediateSize % tpSize === 0) return undefined;
  return {
    code: "BLD024",
    what: `tp_size ${tpSize} does not divide the MLP's intermediate_size ${intermediateSize}`,
    at: inCheckpoint(context, "mapping.tp_size"),
    why: "every rank holds the same number of the MLP's inner columns",
    fix: `${CONVERT_AGAIN} one of ${divisors(intermediateSize)
      .filter(tp => tp <= 64)
      .join(", ")}`,
  };
};

/** Rows of the vocabulary are padded to equal parts when the table is split; columns cannot be. */
export const embeddingSplitsEvenly: Rule = context => {
  const { hiddenSize } = context.spec.language;
  const { tpSize, useParallelEmbedding, embeddingShardingDim } = context.checkpoint;
  if (!useParallelEmbedding || embeddingShardingDim === 0 || hiddenSize % tpSize === 0) return undefined;
  return {
    code: "BLD025",
    what: `tp_size ${tpSize} does not divide the embedding's hidden_size ${hiddenSize}`,
    at: inCheckpoint(context, "embedding_sharding_dim"),
    why: "embedding_sharding_dim 1 splits the table's columns into equal parts",
    fix: "convert again with --embedding_sharding_dim 0, or without --use_parallel_embedding",
  };
};

export const ranksHaveCollectives: Rule = context => {
  const { checkpoint, target, build } = context;
  if (checkpoint.tpSize === 1 || target.hasDistCollective || target.hasAllReducePlugin) return undefined;
  return {
    code: "BLD054",
    what: `tp_size ${checkpoint.tpSize} with TensorRT ${target.parserVersion}`,
    at: inCheckpoint(context, "mapping.tp_size"),
    why: "ranks add and gather their shares by the operator DistCollective, which TensorRT reads from 10.16 on; without it each would answer from a part of the model",
    fix: `${build.backend === "onnxruntime" ? "leave out --tensorrt_version" : "build with TensorRT 10.16 or later, or with --plugins LIBRARY, which mmtrt plugins build writes"}, or convert again with --tp_size 1 and a larger --pp_size`,
  };
};

export const sharedTableIsWhole: Rule = context => {
  const { tpSize, ppSize, shareEmbeddingTable, useParallelEmbedding, embeddingShardingDim } = context.checkpoint;
  const splitAlike = tpSize === 1 || (useParallelEmbedding && embeddingShardingDim === 0);
  if (!shareEmbeddingTable || (splitAlike && ppSize === 1)) return undefined;
  return {
    code: "BLD025",
    what: `share_embedding_table with tp_size ${tpSize}, pp_size ${ppSize}`,
    at: inCheckpoint(context, "share_embedding_table"),
    why: "one table serves as embedding and lm_head only where both are the same rows of the same rank",
    fix: "convert again without --use_embedding_sharing, or with --tp_size 1 --pp_size 1",
  };
};

export const tensorParallelismIsCheckpoints: Rule = ({ build, checkpoint, origin }) =>
  build.tp_size === undefined || build.tp_size === checkpoint.tpSize
    ? undefined
    : {
        code: "BLD026",
        what: `tp_size ${build.tp_size} is asked for and the checkpoint is split for ${checkpoint.tpSize}`,
        at: origin("tp_size"),
        why: "the weights were split among tensor-parallel ranks when the model was converted",
        fix: `leave out --tp_size, or ${CONVERT_AGAIN} ${build.tp_size}`,
      };

export const pipelineIsCheckpoints: Rule = ({ build, checkpoint, origin }) =>
  build.pp_size === undefined || build.pp_size === checkpoint.ppSize
    ? undefined
    : {
        code: "BLD026",
        what: `pp_size ${build.pp_size} is asked for and the checkpoint is split for ${checkpoint.ppSize}`,
        at: origin("pp_size"),
        why: "the layers were split among pipeline stages when the model was converted",
        fix: `leave out --pp_size, or convert again with --pp_size ${build.pp_size}`,
      };

export const everyRankIsThere: Rule = context => {
  const { ranks, worldSize, dir } = context.checkpoint;
  if (ranks === worldSize) return undefined;
  return {
    code: "BLD027",
    what: `${ranks} rank files are there and the mapping needs ${worldSize}`,
    at: `${dir}/rank{0…${worldSize - 1}}.safetensors`,
    why: "a rank built without its weights would give garbage",
    fix: "convert again; a rerun resumes finished ranks",
  };
};

/** Advice. */
export const ranksShareProcess: Rule = context => {
  const { worldSize } = context.checkpoint;
  if (context.build.backend !== "onnxruntime" || worldSize === 1) return undefined;
  return {
    code: "BLD028",
    what: `the onnxruntime backend runs all ${worldSize} ranks in one process, one after the other`,
    at: inCheckpoint(context, "mapping.world_size"),
    why: "that shows what the ranks compute together (mmtrt verify --ranks), and is slower here than the model in one piece",
    fix: "convert with --tp_size 1 --pp_size 1 to run it here for its own sake, or --backend tensorrt for one GPU a rank",
  };
};

import type { Problem } from "../diagnostics/index.ts";
import { beamFitsVocabulary } from "./beam.ts";
import * as lengths from "./lengths.ts";
import {
  everyImageFits,
  promptTableHoldsBatch,
  promptTableIsUsed,
  visualBatchHoldsImage,
  visualBatchHoldsPrompt,
} from "./multimodal.ts";
import * as pagedContext from "./paged-context.ts";
import * as parallel from "./parallel.ts";
import * as plugins from "./plugins.ts";
import { bfloat16IsWidened, computeDtypeCasts, logitsKeepBits, t5HasRange } from "./precision.ts";
import * as quantization from "./quantization.ts";
import type { Rule, RuleContext } from "./rule.ts";
import { scoresFitTensor } from "./tensor-volume.ts";
import * as tensorrt from "./tensorrt.ts";

export type { BuildSettings, CheckpointFacts, PluginChoice, Rule, RuleContext, TargetFacts } from "./rule.ts";

/** Each refuses the build. */
export const RULES: readonly Rule[] = [
  parallel.worldIsProduct,
  parallel.everyRankIsThere,
  parallel.tensorParallelismIsCheckpoints,
  parallel.pipelineIsCheckpoints,
  parallel.headsSplitEvenly,
  parallel.kvHeadsSplitEvenly,
  parallel.layersSplitEvenly,
  parallel.mlpSplitsEvenly,
  parallel.embeddingSplitsEvenly,
  parallel.sharedTableIsWhole,
  parallel.ranksHaveCollectives,
  lengths.inputFitsSequence,
  lengths.positionsExist,
  lengths.encoderPositionsExist,
  lengths.promptHoldsImage,
  lengths.stepHoldsPrompt,
  lengths.optTokensWithinStep,
  lengths.optBatchWithinBatch,
  lengths.optInputWithinInput,
  lengths.optSequenceWithinSequence,
  lengths.oneWayToChooseOpt,
  pagedContext.pagedStepHoldsBatch,
  pagedContext.pagedContextHoldsSpan,
  pagedContext.pagedContextIsDecoders,
  pagedContext.pagedContextKeepsAngles,
  pagedContext.optInputWithinPiece,
  promptTableHoldsBatch,
  visualBatchHoldsImage,
  plugins.attentionPluginHasModelDtype,
  plugins.encoderPluginHasModelDtype,
  plugins.gemmPluginHasModelDtype,
  plugins.weightOnlyPluginHasModelDtype,
  plugins.smoothQuantPluginHasModelDtype,
  plugins.normPluginHasModelDtype,
  plugins.layerNormPluginHasModelDtype,
  plugins.lookupPluginHasModelDtype,
  plugins.pagedCacheHasPlugin,
  plugins.cacheTypeIsBuilt,
  plugins.blockSizeIsPowerOfTwo,
  plugins.pagedContextReadsCache,
  plugins.fusedMlpIsPlain,
  quantization.layoutIsPlain,
  quantization.targetsHaveCodes,
  quantization.runtimeHasFp8,
  quantization.staticCacheIsFloat,
  computeDtypeCasts,
  beamFitsVocabulary,
  tensorrt.versionIsARelease,
  tensorrt.staticCacheHasOperator,
  tensorrt.targetsHaveDtype,
  tensorrt.refitHasGpu,
  tensorrt.refitHasOneTarget,
  tensorrt.flagsHaveTaker,
];

/** Each is shown and refuses nothing: the engine is the one asked for, but may not be the one wanted. */
export const ADVICE: readonly Rule[] = [
  lengths.positionsWereTrained,
  scoresFitTensor,
  lengths.promptHoldsText,
  lengths.answerHasRoom,
  promptTableIsUsed,
  everyImageFits,
  visualBatchHoldsPrompt,
  parallel.ranksShareProcess,
  bfloat16IsWidened,
  logitsKeepBits,
  t5HasRange,
  tensorrt.optionsHaveTaker,
];

/** All problems and all advice at once. */
export function checkRules(context: RuleContext): { readonly problems: Problem[]; readonly warnings: Problem[] } {
  const run = (rules: readonly Rule[]): Problem[] => rules.flatMap(rule => rule(context) ?? []);
  return { problems: run(RULES), warnings: run(ADVICE) };
}

import { join } from "node:path";
import type { BuildPlan } from "../../src/build/plan.ts";
import { planBuild } from "../../src/build/plan-build.ts";
import { convert } from "../../src/checkpoint/convert.ts";
import type { Parallel } from "../../src/checkpoint/shard.ts";
import { withDefaults } from "../../src/options/define.ts";
import { type BuildOptions, buildOptions } from "../../src/options/tables/build.ts";
import type { FloatDtype } from "../../src/tensor/index.ts";
import { ROOT } from "./sources.ts";

/** Converts a model of test/fixtures/parity (odd geometries, a few kB) into `outputDir`. */
export async function convertFixture(
  fixture: string,
  outputDir: string,
  change: Partial<Parallel> & { readonly dtype?: FloatDtype } = {},
): Promise<string> {
  const { dtype = "float32", ...parallel } = change;
  await convert({
    modelDir: join(ROOT, "test/fixtures/parity", fixture),
    outputDir,
    dtype,
    parallel: {
      tpSize: 1,
      ppSize: 1,
      parallelEmbedding: false,
      embeddingShardingDim: 0,
      shareEmbedding: false,
      ...parallel,
    },
    workers: 1,
    strict: false,
    hash: true,
    version: "0.0.0-test",
  });
  return outputDir;
}

/** A plan as the command makes it from the flags in `given`. */
export function planFor(
  checkpoint_dir: string,
  output_dir: string,
  given: Partial<BuildOptions> = {},
): Promise<BuildPlan> {
  const options = withDefaults(buildOptions, { checkpoint_dir, output_dir, ...given });
  return planBuild(options, {
    version: "0.0.0-test",
    origin: key => `--${key} (${key in given ? "command line" : "default"})`,
    given: key => key in given,
  });
}

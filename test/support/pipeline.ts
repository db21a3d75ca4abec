import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BuildEvent } from "../../src/build/events.ts";
import { findBuilder } from "../../src/build/find-builder.ts";
import { planBuild } from "../../src/build/plan-build.ts";
import { runPlan } from "../../src/build/run-plan.ts";
import { convert } from "../../src/checkpoint/convert.ts";
import { withDefaults } from "../../src/options/define.ts";
import { type BuildOptions, buildOptions } from "../../src/options/tables/build.ts";
import type { FloatDtype } from "../../src/tensor/index.ts";

const VERSION = "0.0.0-test";
const origin = (key: string): string => `--${key}`;

/** Temporary directories of one test, removed together. */
export class Workspace {
  readonly #dirs: string[] = [];

  async dir(): Promise<string> {
    const dir = await mkdtemp(join(tmpdir(), "mmtrt-test-"));
    this.#dirs.push(dir);
    return dir;
  }

  async clean(): Promise<void> {
    await Promise.all(this.#dirs.splice(0).map(dir => rm(dir, { recursive: true, force: true })));
  }
}

/** Converts a Hugging Face directory on one rank and gives the checkpoint's directory. */
export async function convertTo(
  work: Workspace,
  modelDir: string,
  dtype: FloatDtype | "auto" = "auto",
  given: Partial<Parameters<typeof convert>[0]> = {},
): Promise<string> {
  const outputDir = join(await work.dir(), "checkpoint");
  const parallel = {
    tpSize: 1,
    ppSize: 1,
    parallelEmbedding: false,
    embeddingShardingDim: 0 as const,
    shareEmbedding: false,
  };
  await convert({
    modelDir,
    outputDir,
    dtype,
    parallel,
    workers: 1,
    strict: false,
    hash: false,
    version: VERSION,
    origin,
    ...given,
  });
  return outputDir;
}

/** Builds an engine directory from a checkpoint; `given` are the options a user would type. */
export async function buildTo(
  work: Workspace,
  checkpoint: string,
  given: Partial<BuildOptions> = {},
  { env = {}, trtexecFlags = [], signal = new AbortController().signal, onEvent }: BuildEnvironment = {},
): Promise<string> {
  const outputDir = given.output_dir ?? join(await work.dir(), "engine");
  const options = withDefaults(buildOptions, { checkpoint_dir: checkpoint, output_dir: outputDir, ...given });
  const builder = await findBuilder(options, { env, signal, trtexecFlags, optional: false });
  const plan = await planBuild(options, {
    version: VERSION,
    origin,
    given: key => key in given,
    builder,
    trtexecFlags,
  });
  for await (const event of runPlan(plan, signal, env)) onEvent?.(event);
  return outputDir;
}

export interface BuildEnvironment {
  /** What the builders of TensorRT see. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly trtexecFlags?: readonly string[];
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: BuildEvent) => void;
}

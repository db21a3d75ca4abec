import { stat } from "node:fs/promises";
import { join } from "node:path";
import { TOKENIZER_DIR } from "../checkpoint/manifest.ts";
import type { ConvertedCheckpoint } from "../checkpoint/read.ts";
import { fingerprint } from "./fingerprint.ts";
import type { BuildPlan, EnginePlan, Step } from "./plan.ts";

/** Bumped when a step writes other bytes for the same inputs. */
const STEP_VERSION = 1;

type StepInput = Pick<BuildPlan, "version" | "backend" | "copy_weights" | "model" | "configs" | "tokenizer">;

/** What is to be done, in order, each with a fingerprint over all that its outputs depend on. */
export async function planSteps(
  checkpoint: ConvertedCheckpoint,
  engines: readonly EnginePlan[],
  plan: StepInput,
): Promise<readonly Step[]> {
  const steps: Step[] = [];
  const own = { step: STEP_VERSION, mmtrt: plan.version };
  for (const engine of engines) {
    const identity = { checkpoint: checkpoint.manifest.fingerprint, ...(await identityOf(engine.source)) };
    const link = fingerprint({ ...own, identity, copy: plan.copy_weights });
    const emit = fingerprint({ ...own, link, onnx: engine.graph.onnx_sha256 });
    steps.push(
      {
        id: `weights ${engine.name}`,
        kind: "link",
        fingerprint: link,
        inputs: [engine.source],
        outputs: [engine.weights],
      },
      { id: `graph ${engine.name}`, kind: "emit", fingerprint: emit, inputs: [engine.weights], outputs: [engine.onnx] },
    );
    if (engine.engine === null) continue;
    const build = fingerprint({ ...own, emit, profiles: engine.profiles, backend: plan.backend });
    const inputs = [engine.onnx, engine.weights];
    steps.push({ id: `engine ${engine.name}`, kind: "engine", fingerprint: build, inputs, outputs: [engine.engine] });
  }
  return [...steps, await filesStep(checkpoint, plan, own)];
}

async function filesStep(checkpoint: ConvertedCheckpoint, plan: StepInput, own: object): Promise<Step> {
  const inputs = plan.tokenizer.map(name => join(checkpoint.dir, TOKENIZER_DIR, name));
  const identities = await Promise.all(inputs.map(identityOf));
  const configs = [plan.configs.llm && "llm/config.json", plan.configs.visual && "visual/config.json"];
  return {
    id: "config and tokenizer",
    kind: "files",
    fingerprint: fingerprint({ ...own, configs: plan.configs, model: plan.model, identities }),
    inputs,
    outputs: [...configs.filter(name => name !== null), ...plan.tokenizer.map(name => `${TOKENIZER_DIR}/${name}`)],
  };
}

/** Size and time of change stand for the bytes: hashing a 140 GB checkpoint at each build would cost minutes. */
async function identityOf(file: string): Promise<{ readonly size: number; readonly mtime_ms: number }> {
  const { size, mtimeMs } = await stat(file);
  return { size, mtime_ms: Math.round(mtimeMs) };
}

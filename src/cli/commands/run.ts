import type { Backend } from "../../formats/engine-config.ts";
import { runOptions } from "../../options/tables/run.ts";
import { Assistant } from "../../runtime/assistant.ts";
import type { OtherEncoder } from "../../runtime/visual/encode.ts";
import { defineCommand } from "../command.ts";
import { runAccuracy } from "../run/accuracy.ts";
import { openInRunner, usesRunner } from "../run/device.ts";
import { noteGeneration } from "../run/generation-note.ts";
import { partOf, runImages, withOthers } from "../run/launched.ts";
import { engineDirOf } from "../run/old-flags.ts";
import { runProfiling } from "../run/profiling.ts";
import { type RunContext, runRequest } from "../run/request.ts";
import { runFile } from "../run/request-file.ts";
import { reuseBytesOf } from "../run/reuse.ts";
import type { Ui } from "../ui.ts";

/** The numbers are the graph's and the times are not the engine's: both should be known. */
function noteBackend(backend: Backend, ui: Ui): void {
  if (backend === "onnxruntime") return;
  ui.info(`note: the engines are for ${backend}; their graphs are run here in ONNX Runtime on the CPU`, { backend });
}

export const run = defineCommand({
  name: "run",
  options: runOptions,
  async run(context) {
    const { options } = context;
    const dir = engineDirOf(options, context.origin);
    const part = await partOf(dir, usesRunner(options));
    if (part.does === "nothing") return;
    if (part.does === "images") await runImages(part, context);
    else await withOthers(part, context.signal, others => runHere(dir, context, others));
  },
});

async function runHere(dir: string, context: RunContext, otherEncoders: readonly OtherEncoder[]): Promise<void> {
  const { options } = context;
  const reuseBytes = reuseBytesOf(context);
  const assistant = usesRunner(options)
    ? await openInRunner(dir, context)
    : await Assistant.open(dir, {
        threads: options.threads,
        ...(reuseBytes !== undefined && { reuseBytes }),
        loraDirs: options.lora_dir,
        otherEncoders,
      });
  try {
    if (!usesRunner(options)) noteBackend(assistant.session.engine.manifest.backend, context.ui);
    await noteGeneration(assistant.session, context);
    if (options.input_file !== undefined) await runFile(assistant, options.input_file, context);
    else if (options.check_accuracy !== undefined) await runAccuracy(assistant, options.check_accuracy, context);
    else if (options.run_profiling || options.compare !== undefined) await runProfiling(assistant, context);
    else await runRequest(assistant, context);
  } finally {
    await assistant.close();
  }
}

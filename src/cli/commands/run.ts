import { runOptions } from "../../options/tables/run.ts";
import { Assistant } from "../../runtime/assistant.ts";
import { defineCommand } from "../command.ts";
import { runAccuracy } from "../run/accuracy.ts";
import { runProfiling } from "../run/profiling.ts";
import { runRequest } from "../run/request.ts";

export const run = defineCommand({
  name: "run",
  options: runOptions,
  async run(context) {
    const { options } = context;
    const assistant = await Assistant.open(options.engine_dir, { threads: options.threads });
    try {
      if (options.check_accuracy !== undefined) await runAccuracy(assistant, options.check_accuracy, context);
      else if (options.run_profiling) await runProfiling(assistant, context);
      else await runRequest(assistant, context);
    } finally {
      await assistant.close();
    }
  },
});

import { evalOptions } from "../../options/tables/eval.ts";
import { Assistant } from "../../runtime/assistant.ts";
import { defineCommand } from "../command.ts";
import { refuseOtherTasks } from "../eval/context.ts";
import { runPasskey } from "../eval/passkey.ts";
import { runPerplexity } from "../eval/perplexity.ts";

export const evaluate = defineCommand({
  name: "eval",
  options: evalOptions,
  async run(context) {
    const { engine_dir, task, threads } = context.options;
    refuseOtherTasks(context);
    const assistant = await Assistant.open(engine_dir, { threads });
    try {
      await (task === "passkey" ? runPasskey : runPerplexity)(assistant, context);
    } finally {
      await assistant.close();
    }
  },
});

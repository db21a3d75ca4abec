import { throwIfAny } from "../../diagnostics/index.ts";
import { type evalOptions, TASK_OPTIONS } from "../../options/tables/eval.ts";
import type { CommandContext } from "../command.ts";

export type EvalContext = CommandContext<typeof evalOptions>;

/** An option of the other task would change nothing, and seem to. Errors: CFG014. */
export function refuseOtherTasks({ options: { task }, given, origin }: EvalContext): void {
  const others = Object.entries(TASK_OPTIONS).filter(([name]) => name !== task);
  throwIfAny(
    others.flatMap(([name, keys]) =>
      keys.filter(given).map(key => ({
        code: "CFG014" as const,
        at: origin(key),
        what: `--${key} is given to eval ${task}`,
        why: `it is about eval ${name} and would change nothing here`,
        fix: `leave out --${key}, or mmtrt eval ${name}`,
      })),
    ),
  );
}

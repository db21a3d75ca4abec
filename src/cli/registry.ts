import type { CommandName } from "../options/commands.ts";
import type { Command } from "./command.ts";

type Loader = () => Promise<Command>;

/** The code of each command, loaded when it is asked for. */
export const REGISTRY: Readonly<Partial<Record<CommandName, Loader>>> = {
  build: async () => (await import("./commands/build.ts")).build,
  cache: async () => (await import("./commands/cache.ts")).cache,
  completion: async () => (await import("./commands/completion.ts")).completion,
  convert: async () => (await import("./commands/convert.ts")).convert,
  demo: async () => (await import("./commands/demo.ts")).demo,
  diff: async () => (await import("./commands/diff.ts")).diff,
  doctor: async () => (await import("./commands/doctor.ts")).doctor,
  eval: async () => (await import("./commands/eval.ts")).evaluate,
  explain: async () => (await import("./commands/explain.ts")).explain,
  init: async () => (await import("./commands/init.ts")).init,
  inspect: async () => (await import("./commands/inspect.ts")).inspect,
  lora: async () => (await import("./commands/lora.ts")).lora,
  matrix: async () => (await import("./commands/matrix.ts")).matrix,
  plan: async () => (await import("./commands/plan.ts")).plan,
  plugins: async () => (await import("./commands/plugins.ts")).plugins,
  quantize: async () => (await import("./commands/quantize.ts")).quantize,
  run: async () => (await import("./commands/run.ts")).run,
  synth: async () => (await import("./commands/synth.ts")).synth,
  verify: async () => (await import("./commands/verify.ts")).verify,
};

export function isCommand(name: string): name is CommandName {
  return Object.hasOwn(REGISTRY, name);
}

export async function loadCommand(name: CommandName): Promise<Command> {
  const load = REGISTRY[name];
  if (load === undefined) throw new Error(`no code for ${name}`);
  return load();
}

import { COMMANDS, type CommandName } from "../options/commands.ts";
import { REGISTRY } from "./registry.ts";
import { VERSION } from "./version.ts";

/** What `mmtrt --help` prints; loads no command. */
export function overview(): string {
  const names = Object.keys(COMMANDS).filter(name => Object.hasOwn(REGISTRY, name)) as CommandName[];
  const wide = Math.max(...names.map(name => name.length));
  return [
    `mmtrt ${VERSION}: Hugging Face multimodal checkpoints to TensorRT engines`,
    "",
    "usage: mmtrt COMMAND [options]",
    "",
    "Commands",
    ...names.map(name => `  ${name.padEnd(wide)}  ${COMMANDS[name].about}`),
    "",
    "mmtrt COMMAND --help shows the options, mmtrt help COMMAND all that there is to know about them. Each can also be set",
    "as MMTRT_<NAME> in the environment or in the YAML file given by --config; a flag beats the environment, which beats",
    "the file. --json prints NDJSON events.",
    "",
    "Exit codes: 0 ok, 1 bad input, 2 usage, 3 the machine lacks something, 4 numbers disagree, 70 a bug in mmtrt.",
  ].join("\n");
}

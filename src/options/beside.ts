import { existsSync } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import type { OptionSpec } from "./define.ts";

/** What could be org/name or org/name@revision. */
const HUB_NAME = /^[\w-][\w.-]*\/[\w-][\w.-]*(?:@[^@]+)?$/;

/** A relative path in a YAML file is meant from where the file lies; a model of the Hub is where nothing lies. */
export function besideFile(file: string, path: string, { hub = false }: Pick<OptionSpec, "hub">): string {
  if (isAbsolute(path) || (hub && path.startsWith("hf://"))) return path;
  const beside = join(dirname(file), path);
  return hub && HUB_NAME.test(path) && !existsSync(beside) ? path : beside;
}

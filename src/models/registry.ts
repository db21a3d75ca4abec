import { fail, type Problem } from "../diagnostics/index.ts";
import type { Architecture } from "./architecture.ts";
import { ConfigReader } from "./config-reader.ts";
import { ARCHITECTURES } from "./index.generated.ts";
import type { ModelSpec } from "./spec.ts";

export interface KnownModel {
  readonly architecture: Architecture;
  readonly spec: ModelSpec;
  readonly warnings: readonly Problem[];
}

/**
 * The architecture that `config.architectures[0]` names, and the model as it describes itself.
 * `file` is how problems call the config. Throws every problem of the config at once.
 */
export function readModel(config: Readonly<Record<string, unknown>>, file = "config.json"): KnownModel {
  const architecture = findArchitecture(config, file);
  const reader = new ConfigReader(config, file);
  return { architecture, spec: architecture.readSpec(reader), warnings: reader.warnings };
}

export function findArchitecture(config: Readonly<Record<string, unknown>>, file = "config.json"): Architecture {
  return knownArchitecture(config) ?? fail(unknown(className(config), config.model_type, file));
}

/** The same, undefined for a class that is not known. */
export function knownArchitecture(config: Readonly<Record<string, unknown>>): Architecture | undefined {
  const name = className(config);
  return ARCHITECTURES.find(({ hf }) => typeof name === "string" && hf.includes(name));
}

function className({ architectures }: Readonly<Record<string, unknown>>): unknown {
  return Array.isArray(architectures) ? architectures[0] : undefined;
}

function unknown(name: unknown, modelType: unknown, file: string): Problem {
  const type = typeof modelType === "string" ? ` (model_type ${JSON.stringify(modelType)})` : "";
  const known = ARCHITECTURES.map(({ hf }) => hf[0]).join(", ");
  return {
    code: "SPC008",
    what:
      name === undefined
        ? `architectures is missing${type}`
        : `architecture ${JSON.stringify(name)}${type} is not supported; supported: ${known}`,
    at: `${file}: architectures`,
    why: "the architecture decides which tensors exist and how they are computed; sizes alone do not tell",
    fix: name === undefined ? `add "architectures": ["…"] with one of ${known}` : `convert a model of ${known}`,
  };
}

import { fail } from "../../diagnostics/index.ts";
import type { EngineIo, EngineProfile, LlmEngineConfig, ProfileRange } from "../../formats/engine-config.ts";
import type { RankShape } from "./graph.ts";
import { layersIn, outerName } from "./names.ts";

/** How the parts of a language model are dealt out. Errors: BLD003 when the config has another number of them. */
export function rankShape({ pretrained_config }: LlmEngineConfig, parts: number, file: string): RankShape {
  const mapping = (pretrained_config.mapping ?? {}) as { readonly tp_size?: unknown; readonly pp_size?: unknown };
  const { tp_size: tpSize = 1, pp_size: ppSize = 1 } = mapping;
  if (Number.isSafeInteger(tpSize) && Number.isSafeInteger(ppSize) && Number(tpSize) * Number(ppSize) === parts)
    return { tpSize: Number(tpSize), ppSize: Number(ppSize) };
  return fail({
    code: "BLD003",
    what: `${file}: mapping is ${JSON.stringify(mapping)}; the directory has ${parts} ranks`,
    at: `${file}: pretrained_config.mapping`,
    why: "a rank is one tensor part of one pipeline stage, so there are tp_size × pp_size of them",
    fix: "build the engine directory again",
  });
}

/** Inputs and outputs of one stage, as a config lists them. */
export type Table = Pick<LlmEngineConfig, "io" | "profiles">;

/** Inputs and outputs of each rank, by its own names. */
export function rankTables(config: LlmEngineConfig, { tpSize }: Pick<RankShape, "tpSize">): readonly Table[] {
  const stages: readonly Table[] = [config, ...(config.pp_stages ?? [])];
  return stages.flatMap(({ io, profiles }) => Array.from({ length: tpSize }, () => ({ io, profiles })));
}

/**
 * The config of all ranks behind one set of inputs and outputs: each rank's keys and values under their outer names, and
 * everything else once. One rank's config is its own.
 */
export function rankedConfig(config: LlmEngineConfig, { tpSize, ppSize }: RankShape): LlmEngineConfig {
  if (tpSize * ppSize === 1) return config;
  let before = 0;
  const ranks = rankTables(config, { tpSize }).map(own => {
    const table = outerTable(own, before);
    before += layersIn(own.io.map(({ name }) => name));
    return table;
  });
  const io = ranks.flatMap(rank => rank.io).filter(({ name }) => !name.startsWith("hidden_states_"));
  const { pp_stages: _, ...rest } = config;
  return { ...rest, io: once(io), profiles: config.profiles.map(profile => joined(profile, ranks)) };
}

function outerTable({ io, profiles }: Table, before: number): Table {
  return {
    io: io.map(value => ({ ...value, name: outerName(value.name, before) })),
    profiles: profiles.map(profile => ({ ...profile, shapes: renamed(profile.shapes, before) })),
  };
}

function renamed(shapes: EngineProfile["shapes"], before: number): Record<string, ProfileRange> {
  return Object.fromEntries(Object.entries(shapes).map(([name, range]) => [outerName(name, before), range]));
}

function joined(profile: EngineProfile, ranks: readonly Table[]): EngineProfile {
  const same = ranks.flatMap(({ profiles }) => profiles.filter(({ name }) => name === profile.name));
  return { ...profile, shapes: Object.assign({}, ...same.map(({ shapes }) => shapes)) };
}

function once(io: readonly EngineIo[]): readonly EngineIo[] {
  return [...new Map(io.map(value => [`${value.kind} ${value.name}`, value])).values()];
}

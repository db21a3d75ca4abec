import { isDeepStrictEqual } from "node:util";
import type { Problem } from "../../diagnostics/index.ts";
import type { LoadedAdapter } from "../../formats/lora/load.ts";
import { type EngineTable, tableHashes } from "../../formats/lora/tables.ts";

/** Why adapters given at run time do not fit the word tables that an engine was built with: LRA019. */
export async function otherTables(
  adapters: readonly LoadedAdapter[],
  built: readonly EngineTable[],
  at: string,
): Promise<readonly Problem[]> {
  const bringing = adapters.filter(({ tables }) => tables.size > 0);
  const problems: Problem[] = [];
  for (const { dir, name, tables } of bringing)
    if (!isDeepStrictEqual(await tableHashes(tables), built))
      problems.push(notBuiltIn(dir, name, [...tables.keys()], built));
  return built.length > 0 && bringing.length === 0 ? [nobodyBrings(built, at)] : problems;
}

function notBuiltIn(dir: string, name: string, own: readonly string[], built: readonly EngineTable[]): Problem {
  const engine = built.length === 0 ? "those of its checkpoint" : `others (${namesOf(built)} of another adapter)`;
  return {
    code: "LRA019",
    what: `${name} brings ${own.join(" and ")} of its own; the engine has ${engine}`,
    at: dir,
    why: "these tables are in the graph since the build, and the adapter would answer with others than it was trained with",
    fix: `mmtrt build --lora_dir ${dir}, or mmtrt lora merge and convert the merged model`,
  };
}

function nobodyBrings(built: readonly EngineTable[], at: string): Problem {
  return {
    code: "LRA019",
    what: `the engine was built with ${namesOf(built)} of an adapter, and none of the given adapters brings ${built.length > 1 ? "them" : "it"}`,
    at,
    why: "adapters without tables were trained with the base model's, which are not in this engine",
    fix: "give the adapter that brings the tables too, or mmtrt build without it into another directory",
  };
}

function namesOf(tables: readonly EngineTable[]): string {
  return tables.map(({ name }) => name).join(" and ");
}

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const models = fileURLToPath(new URL("../src/models/", import.meta.url));

/** The typed index of architecture files: every file of src/models that exports one by default. */
export function modelIndex(): string {
  const names = readdirSync(models)
    .filter(name => name.endsWith(".ts") && !name.endsWith(".generated.ts"))
    .filter(name => readFileSync(join(models, name), "utf8").includes("\nexport default "))
    .map(name => name.replace(/\.ts$/, ""))
    .sort();
  const variable = (name: string): string =>
    name.replace(/[^A-Za-z0-9]+(.)?/g, (_, next?: string) => next?.toUpperCase() ?? "");
  return [
    "// Written by `npm run models` from the files of this folder; a test fails when it is stale.",
    'import type { Architecture } from "./architecture.ts";',
    ...names.map(name => `import ${variable(name)} from "./${name}.ts";`),
    "",
    `export const ARCHITECTURES: readonly Architecture[] = [${names.map(variable).join(", ")}];`,
    "",
  ].join("\n");
}

export const MODEL_INDEX = join(models, "index.generated.ts");

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(MODEL_INDEX, modelIndex());

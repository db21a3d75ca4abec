import { compareDirectories, type Difference } from "../../build/diff/directories.ts";
import { fail } from "../../diagnostics/index.ts";
import { diffOptions } from "../../options/tables/diff.ts";
import { defineCommand } from "../command.ts";

export const diff = defineCommand({
  name: "diff",
  options: diffOptions,
  async run({ options, ui, signal }) {
    const { first, second } = options;
    const { kind, same, differences } = await compareDirectories(first, second, signal);
    const what = kind === "engine" ? "engine directories" : "checkpoints";
    const verdict =
      differences.length === 0
        ? `the two ${what} are equal: ${same} files with the same bytes`
        : `the two ${what} differ; ${same} files have the same bytes`;
    ui.result([...grouped(differences), verdict].join("\n"), {
      kind,
      equal: differences.length === 0,
      same,
      differences,
    });
    if (!options.exit_code || differences.length === 0) return;
    fail({
      code: "MTX014",
      at: second,
      what: `${second} is not ${first}`,
      why: "--exit_code asks for a failure when there is a difference",
      fix: "leave --exit_code out to look only",
    });
  },
});

/** Under each file its lines. */
function grouped(differences: readonly Difference[]): readonly string[] {
  const files = [...new Set(differences.map(({ where }) => where))];
  return files.flatMap(file => [
    file,
    ...differences.filter(({ where }) => where === file).map(({ what }) => `  ${what}`),
  ]);
}

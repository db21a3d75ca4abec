import { mkdir, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { asOutputProblem } from "../../checkpoint/files.ts";
import { fail } from "../../diagnostics/index.ts";
import { initOptions } from "../../options/tables/init.ts";
import { defineCommand } from "../command.ts";
import { type ProjectFile, projectFiles } from "../init/project.ts";

/** A repository has one of its own, and more in it than a project of mmtrt knows. */
const KEPT = ".gitignore";

export const init = defineCommand({
  name: "init",
  options: initOptions,
  async run({ options, origin, ui }) {
    const { dir } = options;
    const files = await projectFiles(options, origin("model"));
    const there = await Promise.all(files.map(({ name }) => exists(join(dir, name))));
    const inTheWay = files.filter(({ name }, i) => there[i] && name !== KEPT);
    if (inTheWay.length > 0) refuse(dir, inTheWay, origin("dir"));
    const written = files.filter((_, i) => !there[i]);
    for (const file of written) await writeNew(join(dir, file.name), file.text);
    const kept = files.find(({ name }, i) => there[i] && name === KEPT);
    if (kept !== undefined)
      ui.info(`${join(dir, KEPT)} stays as it is; add: ${kept.text.trim().split("\n").join(" ")}`);
    const next = [
      "mmtrt convert --config mmtrt.yaml",
      "mmtrt build --config mmtrt.yaml --plan",
      "mmtrt matrix matrix.yaml --plan",
    ];
    const names = written.map(({ name }) => join(dir, name));
    ui.result([...names.map(name => `wrote ${name}`), "", "next", ...next.map(line => `  ${line}`)].join("\n"), {
      dir,
      files: names,
      next,
    });
  },
});

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Never over a file that appeared in the meantime. Errors: CKP009. */
async function writeNew(path: string, text: string): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text, { flag: "wx" });
  } catch (error) {
    throw asOutputProblem(path, error);
  }
}

function refuse(dir: string, files: readonly ProjectFile[], at: string): never {
  const names = files.map(({ name }) => join(dir, name));
  return fail({
    code: "CFG013",
    what: `${names.join(", ")} ${names.length === 1 ? "is" : "are"} there already`,
    at,
    why: "a project is made once and then belongs to its user; nothing is overwritten or mixed",
    fix: "mmtrt init OTHER_DIR, or move these away",
  });
}

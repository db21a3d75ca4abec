import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { groupsOf } from "../../../src/cli/command-help.ts";
import { bashCompletion } from "../../../src/cli/completion/bash.ts";
import { fishCompletion } from "../../../src/cli/completion/fish.ts";
import { completedCommands } from "../../../src/cli/completion/words.ts";
import { zshCompletion } from "../../../src/cli/completion/zsh.ts";
import { allTables } from "../../../src/options/schema.ts";
import { commonOptions } from "../../../src/options/tables/common.ts";
import { ROOT } from "../../support/sources.ts";

const dir = mkdtempSync(join(tmpdir(), "mmtrt-completion-"));
const script = { bash: join(dir, "mmtrt.bash"), zsh: join(dir, "_mmtrt"), fish: join(dir, "mmtrt.fish") };
const installed = (shell: string): boolean => spawnSync(shell, ["--version"]).status === 0;

const commands = await completedCommands();
beforeAll(() => {
  writeFileSync(script.bash, bashCompletion(commands, "0.0.0"));
  writeFileSync(script.zsh, zshCompletion(commands, "0.0.0"));
  writeFileSync(script.fish, fishCompletion(commands, "0.0.0"));
  writeFileSync(join(dir, "a model.safetensors"), "");
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** What bash would offer after each line; the last word is the one that is typed. */
function offered(lines: readonly string[]): readonly string[][] {
  const ask = lines.map(
    line => `COMP_WORDS=(mmtrt ${line}); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _mmtrt; echo "\${COMPREPLY[*]}"`,
  );
  const out = execFileSync("bash", ["--norc", "-c", [`source ${script.bash}`, ...ask].join("\n")], {
    encoding: "utf8",
  });
  return out
    .split("\n")
    .slice(0, lines.length)
    .map(line => (line === "" ? [] : line.split(" ")));
}

describe("completion in bash", () => {
  it("offers every command, and every flag that help shows of each", async () => {
    const tables = await allTables();
    const names = Object.keys(tables);
    const [first, ...flags] = offered(["''", ...names.map(name => `${name} -`)]);
    expect(first).toEqual([...names, "help", "--help", "--version"]);
    for (const [i, name] of names.entries()) {
      const shown = [...groupsOf({ ...tables[name], ...commonOptions }).values()].flat();
      const want = shown.flatMap(([key, spec]) => [
        `--${spec.type === "boolean" && spec.default === true ? "no_" : ""}${key}`,
        ...(spec.short === undefined ? [] : [`-${spec.short}`]),
      ]);
      expect(flags[i]?.toSorted(), name).toEqual(want.toSorted());
    }
  });

  it("offers the words of a value, after a space and after =", () => {
    const dtypes = ["auto", "float16", "bfloat16", "float32"];
    expect(
      offered([
        "convert --dtype ''",
        "convert --dtype =",
        "convert --dtype = fl",
        "build --backend tensorrt",
        "matrix m.yaml --workers ''",
        "completion ''",
        "help di",
        "con",
      ]),
    ).toEqual([
      dtypes,
      dtypes,
      ["float16", "float32"],
      ["tensorrt", "tensorrt_rtx"],
      ["auto"],
      ["bash", "zsh", "fish"],
      ["diff"],
      ["convert"],
    ]);
  });

  it("leaves paths to the shell, and what goes to trtexec alone", () => {
    expect(offered(["convert ''", "convert --output_dir ''", "build -- --no", "convert --tp_size ''"])).toEqual([
      [],
      [],
      [],
      [],
    ]);
  });
});

describe.skipIf(!installed("fish"))("completion in fish (skipped where fish is not installed)", () => {
  const ask = (line: string): readonly string[] =>
    execFileSync("fish", ["--no-config", "-c", `source ${script.fish}; complete -C ${JSON.stringify(line)}`], {
      encoding: "utf8",
      cwd: dir,
      env: { PATH: process.env.PATH, HOME: dir },
    })
      .trimEnd()
      .split("\n")
      .map(text => text.split("\t")[0] ?? "");

  it("offers commands, flags, words and files", () => {
    expect(ask("mmtrt con")).toEqual(["convert"]);
    expect(ask("mmtrt convert --dty")).toEqual(["--dtype"]);
    expect(ask("mmtrt convert --dtype ").toSorted()).toEqual(["auto", "bfloat16", "float16", "float32"]);
    expect(ask("mmtrt build --backend=tens")).toEqual(["--backend=tensorrt", "--backend=tensorrt_rtx"]);
    expect(ask("mmtrt inspect a")).toEqual(["a model.safetensors"]);
    expect(ask("mmtrt help dif")).toEqual(["diff"]);
  });
});

describe.skipIf(!installed("zsh"))("completion in zsh (skipped where zsh is not installed)", () => {
  it("completes commands, flags, words and files", () => {
    const lines = ["mmtrt conv", "mmtrt convert --dtype=bf", "mmtrt completion fi", "mmtrt inspect a"];
    const out = execFileSync("zsh", ["-f", join(ROOT, "test/support/complete.zsh"), script.zsh, ...lines], {
      encoding: "utf8",
      cwd: dir,
      env: { PATH: process.env.PATH, HOME: dir, TERM: "xterm" },
    });
    const become = [...plain(out).matchAll(/(mmtrt [^\n]*?) *#END/g)].map(([, line]) => line);
    expect(become).toEqual([
      "mmtrt convert",
      "mmtrt convert --dtype=bfloat16",
      "mmtrt completion fish",
      "mmtrt inspect a\\ model.safetensors",
    ]);
  });
});

/** What is on the screen: zsh writes bold spaces and takes them back with backspaces. */
function plain(out: string): string {
  let text = stripVTControlCharacters(out);
  while (/[^\b][\b]/.test(text)) text = text.replace(/[^\b][\b]/g, "");
  return text;
}

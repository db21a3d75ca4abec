import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ROOT } from "../../support/sources.ts";

interface Instruction {
  readonly name: string;
  readonly text: string;
}

/** Instructions in their order, those that go on in the next line joined; comments left out. */
const instructions: readonly Instruction[] = readFileSync(join(ROOT, "Dockerfile"), "utf8")
  .replaceAll(/^#.*\n/gm, "")
  .replaceAll(/\\\n/g, " ")
  .split("\n")
  .filter(line => line.trim() !== "")
  .map(line => ({ name: line.split(" ")[0] ?? "", text: line.slice(line.indexOf(" ") + 1) }));
const of = (name: string): readonly string[] => instructions.filter(one => one.name === name).map(({ text }) => text);
const args = new Map(of("ARG").map(text => text.split("=") as [string, string]));

describe("Dockerfile", () => {
  it("builds in one stage and ships another, from images of named releases", () => {
    const images = of("FROM").map(text => text.replace(/\$\{(\w+)\}/, (_, name: string) => args.get(name) ?? ""));
    expect(images).toEqual([
      expect.stringMatching(/^node:20\.\d+-[a-z-]+ AS package$/),
      expect.stringMatching(/^nvcr\.io\/nvidia\/tensorrt:\d\d\.\d\d-py3$/),
    ]);
  });

  it("copies from stages and files that there are", () => {
    for (const text of of("COPY")) {
      const from = /^--from=(\w+) /.exec(text)?.[1];
      if (from !== undefined) expect(of("FROM").some(image => image.endsWith(` AS ${from}`))).toBe(true);
      else for (const file of text.split(" ").slice(0, -1)) expect(existsSync(join(ROOT, file)), file).toBe(true);
    }
  });

  it("runs as somebody without rights, and mmtrt as process 1, so that Ctrl-C reaches it", () => {
    expect(of("USER")).toEqual(["mmtrt"]);
    const user = instructions.findIndex(({ name }) => name === "USER");
    expect(instructions.slice(user + 1).map(({ name }) => name)).toEqual(["WORKDIR", "ENTRYPOINT", "CMD"]);
    expect(JSON.parse(of("ENTRYPOINT")[0] ?? "")).toEqual(["mmtrt"]);
  });

  it("sends the builder everything that the package is made of", () => {
    const ignored = readFileSync(join(ROOT, ".dockerignore"), "utf8").trim().split("\n");
    const { files } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { files: string[] };
    const isSent = (path: string): boolean => {
      const rules = ignored.filter(rule => isBelow(path, rule.replace(/^!/, "")));
      return rules.at(-1)?.startsWith("!") ?? true;
    };
    expect(
      [...files, "src", "scripts", "LICENSE", "README.md"].filter(path => path !== "dist" && !isSent(path)),
    ).toEqual([]);
    expect(["node_modules", ".git", "test/parity"].filter(isSent)).toEqual([]);
  });
});

function isBelow(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { planShapes } from "../../../src/build/plan-build.ts";
import { findPublished } from "../../../src/checkpoint/published.ts";
import { weightlessCheckpoint } from "../../../src/checkpoint/weightless.ts";
import { COMMANDS, type CommandName } from "../../../src/options/commands.ts";
import { resolve } from "../../../src/options/resolve.ts";
import { buildOptions } from "../../../src/options/tables/build.ts";
import { convertOptions } from "../../../src/options/tables/convert.ts";
import { wordsOf } from "../../support/shell-words.ts";
import { filesBelow, ROOT } from "../../support/sources.ts";

const text = (path: string): string => readFileSync(join(ROOT, path), "utf8");
const pages = ["README.md", "CONTRIBUTING.md", ...filesBelow("docs").filter(path => path.endsWith(".md"))];
const written = pages.filter(path => !/^docs\/(?:reference|errors)\//.test(path));

/** The lines of mmtrt in code blocks, those that go on in the next line joined. */
function commandsIn(page: string): readonly string[] {
  const blocks = [...text(page).matchAll(/^```[a-z]*\n([\s\S]*?)^```$/gm)].map(([, block]) => block ?? "");
  return blocks.flatMap(block =>
    block
      .replaceAll(/\\\n\s*/g, "")
      .split("\n")
      .filter(line => line.startsWith("mmtrt ")),
  );
}

describe("command lines in the guides", () => {
  const commands = written.flatMap(page => commandsIn(page).map(line => [page, line] as const));

  it("are there", () => {
    expect(commands.length).toBeGreaterThan(40);
  });

  it.each(commands)("%s: %s", async (_, line) => {
    // [--flag] may be left out, and behind a gap stands what the line does.
    const [, command = "", ...argv] = wordsOf(line.replace(/ {3,}.*$/, "").replaceAll(/\[(--[^\]]*)\]/g, "$1"));
    expect(Object.keys(COMMANDS)).toContain(command);
    const name = command as CommandName;
    const { passthrough } = COMMANDS[name] as { passthrough?: string };
    const input = { argv, env: {}, passthrough: passthrough !== undefined };
    await expect(resolve(name, await COMMANDS[name].table(), input)).resolves.toBeDefined();
  });
});

describe("the families of docs/guide/recipes.md", () => {
  const sections = text("docs/guide/recipes.md")
    .split("\n### ")
    .slice(1)
    .map(section => [section.split("\n")[0] as string, section] as const);

  it("are the five of TensorRT-LLM's example that mmtrt has", () => {
    expect(sections.map(([title]) => title)).toEqual([
      "BLIP-2 with OPT",
      "BLIP-2 with T5",
      "LLaVA-1.5",
      "VILA",
      "Nougat",
    ]);
  });

  it.each(sections)("%s: mmtrt's lines plan without a problem for the published model", async (_, section) => {
    const line = (command: string): readonly string[] =>
      wordsOf(new RegExp(`^mmtrt ${command} .*$`, "m").exec(section)?.[0] ?? "").slice(2);
    const convert = await resolve("convert", convertOptions, { argv: line("convert"), env: {} });
    const build = await resolve("build", buildOptions, { argv: line("build"), env: {} });
    const { config, name } = await findPublished(convert.options.model_dir ?? "", "MODEL_DIR");
    const { checkpoint } = weightlessCheckpoint({
      config,
      name,
      dtype: convert.options.dtype,
      parallel: { tpSize: 1, ppSize: 1, parallelEmbedding: false, embeddingShardingDim: 0, shareEmbedding: false },
      version: "0.0.0",
      origin: convert.origin,
    });
    const plan = await planShapes(checkpoint, build.options, {
      version: "0.0.0",
      origin: build.origin,
      given: build.given,
    });
    expect([plan.problems, plan.adjustments]).toEqual([[], plan.adjustments.filter(({ from }) => from === "auto")]);
  });
});

describe("links of the pages", () => {
  it("lead to files that are there", () => {
    const broken = pages.flatMap(page =>
      [...text(page).matchAll(/\]\((?!https?:)([^)#\s]+)(?:#[^)]*)?\)/g)]
        .map(([, target]) => join(dirname(page), target as string))
        .filter(target => !isThere(target))
        .map(target => `${page} → ${target}`),
    );
    expect(broken).toEqual([]);
  });
});

function isThere(path: string): boolean {
  try {
    readFileSync(join(ROOT, path));
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EISDIR";
  }
}

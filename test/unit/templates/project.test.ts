import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { expandMatrix } from "../../../src/build/matrix/expand.ts";
import { readMatrix } from "../../../src/build/matrix/read.ts";
import { resolve } from "../../../src/options/resolve.ts";
import { buildOptions } from "../../../src/options/tables/build.ts";
import { convertOptions } from "../../../src/options/tables/convert.ts";
import { matrixOptions } from "../../../src/options/tables/matrix.ts";
import { runOptions } from "../../../src/options/tables/run.ts";
import { ROOT } from "../../support/sources.ts";

const folder = join(ROOT, "templates", "project");
const read = (name: string): string => readFileSync(join(folder, name), "utf8");

describe("templates/project/mmtrt.yaml", () => {
  const argv = ["--config", join(folder, "mmtrt.yaml")];

  it("is understood by every command it has a section for, with paths beside the file", async () => {
    const convert = await resolve("convert", convertOptions, { argv, env: {} });
    expect(convert.options.model_dir).toBe("llava-hf/llava-1.5-7b-hf");
    expect(convert.options.output_dir).toBe(join(folder, "checkpoint"));
    const build = await resolve("build", buildOptions, { argv, env: {} });
    expect(build.options.checkpoint_dir).toBe(convert.options.output_dir);
    expect([build.options.max_batch_size, build.options.max_multimodal_len]).toEqual([1, "auto"]);
    expect(build.origin("max_batch_size")).toMatch(/mmtrt\.yaml:\d+:\d+$/);
    const run = await resolve("run", runOptions, { argv: [...argv, "--input_text", "hello"], env: {} });
    expect(run.options.engine_dir).toBe(build.options.output_dir);
  });
});

describe("templates/project/matrix.yaml", () => {
  it("expands to cells, each target too that it only mentions", async () => {
    const file = await readMatrix(join(folder, "matrix.yaml"), "FILE");
    expect(expandMatrix(file).map(({ name }) => name)).toEqual([
      "llava-1.5-7b-hf-float16-cpu-b1",
      "llava-1.5-7b-hf-float16-cpu-b4",
    ]);
    expect([...file.targets.keys()]).toEqual(["cpu", "rtx"]);
  });
});

describe("files for CI", () => {
  /** Command lines of mmtrt in the steps, as words. */
  const commandsOf = (value: unknown): readonly string[][] => {
    if (typeof value === "string" && value.startsWith("npx ")) return [value.split(/\s+/)];
    return typeof value === "object" && value !== null ? Object.values(value).flatMap(commandsOf) : [];
  };

  it.each(["github.yml", "gitlab-ci.yml"])("%s runs an mmtrt of one version with flags that it has", async name => {
    const commands = commandsOf(parse(read(name)));
    expect(commands).toHaveLength(1);
    const [npx, yes, tool, command, ...argv] = commands[0] ?? [];
    expect([npx, yes, tool, command]).toEqual(["npx", "--yes", "mmtrt@latest", "matrix"]);
    const { options, notes } = await resolve("matrix", matrixOptions, { argv, env: {} });
    expect([options.matrix_file, notes]).toEqual(["matrix.yaml", []]);
    // Written, and kept.
    for (const report of [options.junit, options.html]) expect(read(name).split(`${report}`)).toHaveLength(3);
  });

  let github: Record<string, unknown>;
  beforeAll(() => {
    github = parse(read("github.yml")) as Record<string, unknown>;
  });

  it("of GitHub has the shape of a workflow", () => {
    expect(Object.keys(github)).toEqual(["name", "on", "jobs"]);
    const { steps, ...job } = (github.jobs as { engines: { steps: Record<string, unknown>[] } }).engines;
    expect(Object.keys(job)).toEqual(["runs-on", "env"]);
    for (const step of steps) expect(["uses", "run"].filter(key => key in step)).toHaveLength(1);
    expect(steps.map(({ uses }) => uses).filter(Boolean)).toEqual([
      "actions/checkout@v4",
      "actions/setup-node@v4",
      "actions/cache@v4",
      "actions/upload-artifact@v4",
    ]);
  });

  it("of GitLab keep caches inside the project, where alone GitLab keeps them", () => {
    const { engines } = parse(read("gitlab-ci.yml"));
    expect(engines.cache.paths).toEqual([".mmtrt/"]);
    expect(engines.variables.HF_HOME).toMatch(/^\$CI_PROJECT_DIR\/\.mmtrt\//);
  });

  it("are all there is beside the YAML files and a gitignore", () => {
    expect(readdirSync(folder).sort()).toEqual([
      "github.yml",
      "gitignore",
      "gitlab-ci.yml",
      "matrix.yaml",
      "mmtrt.yaml",
    ]);
  });
});

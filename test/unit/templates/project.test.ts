import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { resolve } from "../../../src/options/resolve.ts";
import { buildOptions } from "../../../src/options/tables/build.ts";
import { convertOptions } from "../../../src/options/tables/convert.ts";
import { runOptions } from "../../../src/options/tables/run.ts";
import { ROOT } from "../../support/sources.ts";

const file = join(ROOT, "templates", "project", "mmtrt.yaml");
const argv = ["--config", file];

describe("templates/project/mmtrt.yaml", () => {
  it("is understood by every command it has a section for, with paths beside the file", async () => {
    const convert = await resolve("convert", convertOptions, { argv, env: {} });
    expect(convert.options.model_dir).toBe(join(ROOT, "templates", "project", "llava-1.5-7b-hf"));
    const build = await resolve("build", buildOptions, { argv, env: {} });
    expect([build.options.max_batch_size, build.options.max_multimodal_len]).toEqual([8, "auto"]);
    expect(build.origin("max_batch_size")).toMatch(/mmtrt\.yaml:\d+:\d+$/);
    const run = await resolve("run", runOptions, { argv: [...argv, "--input_text", "hello"], env: {} });
    expect(run.options.max_new_tokens).toBe(100);
  });
});

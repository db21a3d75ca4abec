import { cpSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { Rig } from "../support/rig.ts";
import { ROOT } from "../support/sources.ts";

const rig = new Rig();
afterAll(() => rig.close());
const text = (name: string): string => readFileSync(join(rig.dir, name), "utf8");

async function ok(...argv: string[]): Promise<string> {
  const { code, stdout, stderr } = await rig.run(argv);
  expect(code, stderr).toBe(0);
  return stdout;
}

describe("mmtrt init", () => {
  it("makes a project of a model directory that converts, plans, builds and runs as it is", async () => {
    cpSync(join(ROOT, "test/fixtures/models/llava-shapes"), join(rig.dir, "models/shapes"), { recursive: true });
    const made = await ok("init", "project", "--model", "models/shapes");
    expect(made.match(/^wrote .*$/gm)).toEqual([
      "wrote project/mmtrt.yaml",
      "wrote project/matrix.yaml",
      "wrote project/.github/workflows/engines.yml",
      "wrote project/.gitignore",
    ]);
    expect(text("project/mmtrt.yaml")).toContain(
      "\n  model_dir: ../models/shapes # a directory, a GGUF file, or org/name",
    );
    const config = ["--config", "project/mmtrt.yaml"];
    await ok("convert", ...config);
    expect(await ok("build", ...config, "--plan")).toContain("llm/rank0");
    await ok("build", ...config);
    const answer = await ok(
      "run",
      ...config,
      "--image",
      "models/shapes/demo.png",
      "--input_text",
      "Describe the image.",
    );
    expect(answer).toContain("a red circle, a green triangle and a blue star");
    const cells = await ok("matrix", "project/matrix.yaml", "--plan", "--json");
    expect(JSON.parse(cells).cells.map(({ name }: { name: string }) => name)).toEqual([
      "shapes-float16-cpu-b1",
      "shapes-float16-cpu-b4",
    ]);
  });

  it("overwrites nothing, and writes nothing beside what is there", async () => {
    rig.file("mine/matrix.yaml", "# mine\n");
    const { code, stderr } = await rig.run(["init", "mine"]);
    expect([code, stderr]).toEqual([
      2,
      [
        "error[CFG013]: mine/matrix.yaml is there already",
        "  at   DIR (command line)",
        "  why  a project is made once and then belongs to its user; nothing is overwritten or mixed",
        "  fix  mmtrt init OTHER_DIR, or move these away\n",
      ].join("\n"),
    ]);
    expect([text("mine/matrix.yaml"), existsSync(join(rig.dir, "mine/mmtrt.yaml"))]).toEqual(["# mine\n", false]);
  });

  it("leaves a .gitignore as it is and says what belongs into it", async () => {
    rig.file("repo/.gitignore", "node_modules\n");
    const { code, stderr } = await rig.run(["init", "repo", "--ci", "none"]);
    expect([code, text("repo/.gitignore")]).toEqual([0, "node_modules\n"]);
    expect(stderr).toBe(
      "repo/.gitignore stays as it is; add: .mmtrt/ checkpoint/ engine/ engines/ report.xml report.html\n",
    );
    expect(existsSync(join(rig.dir, "repo/.github"))).toBe(false);
  });

  it("of a published model takes its name on the Hub and the limits recommended for it", async () => {
    await ok("init", "blip", "--model", "blip2-opt-2.7b", "--ci", "gitlab");
    const { convert, build } = parse(text("blip/mmtrt.yaml"));
    const { hub, build: recommended } = parse(readFileSync(join(ROOT, "configs/models/blip2-opt-2.7b.yaml"), "utf8"));
    expect(convert.model_dir).toBe(hub);
    const { backend: _, dtype, tp_size: __, pp_size: ___, ...limits } = recommended;
    expect(convert.dtype).toBe(dtype);
    expect(build).toMatchObject({ ...limits, backend: "onnxruntime" });
    const matrix = parse(text("blip/matrix.yaml"));
    expect(matrix.models).toEqual({ "blip2-opt-2.7b": hub });
    expect(matrix.defaults.max_seq_len).toBe(limits.max_seq_len);
    const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
    expect(text("blip/.gitlab-ci.yml")).toContain(`npx --yes mmtrt@${version} matrix`);
    expect(text("blip/.gitlab-ci.yml")).not.toContain("latest");
  });

  it("takes any name of the Hub, and says of another word which models are known", async () => {
    await ok("init", "own", "--model", "my-org/my.llava@v2");
    expect(parse(text("own/mmtrt.yaml")).convert.model_dir).toBe("my-org/my.llava@v2");
    expect(parse(text("own/matrix.yaml")).models).toEqual({ "my.llava": "my-org/my.llava@v2" });
    const { code, stderr } = await rig.run(["init", "no", "--model", "lava-1.5-7b-hf"]);
    expect([code, stderr]).toEqual([2, expect.stringContaining("did you mean llava-1.5-7b-hf?")]);
    expect(existsSync(join(rig.dir, "no"))).toBe(false);
  });
});

describe("mmtrt completion", () => {
  it("prints the script of a shell, which needs no mmtrt to run", async () => {
    const script = await ok("completion", "bash");
    expect(script).toMatch(
      /^# bash completion of mmtrt \d+\.\d+\.\d+, made by: mmtrt completion bash\n_mmtrt\(\) \{\n/,
    );
    expect((await rig.run(["completion", "tcsh"])).stderr).toContain("shell must be one of bash, zsh, fish; got tcsh");
  });
});

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { engineDirOf, pictureFiles } from "../../../src/cli/run/old-flags.ts";
import { withDefaults } from "../../../src/options/define.ts";
import { type RunOptions, runOptions } from "../../../src/options/tables/run.ts";

const home = mkdtempSync(join(tmpdir(), "mmtrt-flags-"));
const engine = join(home, "engine");
for (const part of ["llm", "visual"]) mkdirSync(join(engine, part), { recursive: true });
writeFileSync(join(engine, "mmtrt.json"), "{}");
afterAll(() => rmSync(home, { recursive: true }));

const options = (given: Partial<RunOptions>): RunOptions => withDefaults(runOptions, { engine_dir: engine, ...given });
const typed = (flag: string) => (): string => `${flag} (command line)`;

describe("the engine directories of TensorRT-LLM's runner", () => {
  it("are the one directory that holds both parts, however it is named", () => {
    for (const engine_dir of [engine, `${engine}/`, join(engine, "llm"), `${engine}/llm/`])
      for (const visual_engine_dir of [undefined, engine, join(engine, "visual"), `${engine}/visual/`])
        expect(engineDirOf(options({ engine_dir, visual_engine_dir }), typed("--engine_dir")).replace(/\/$/, "")).toBe(
          engine,
        );
  });

  it("are left as given where no engine directory is around the part", () => {
    const alone = join(home, "elsewhere", "llm");
    expect(engineDirOf(options({ engine_dir: alone }), typed("--engine_dir"))).toBe(alone);
  });

  it("are refused when the visual part is another's", () => {
    const other = options({ visual_engine_dir: join(home, "other/visual") });
    expect(() => engineDirOf(other, typed("--visual_engine_dir"))).toThrow(/RUN030.*--llm_dir LLM_DIR/s);
  });
});

describe("the pictures of one text", () => {
  const comma = join(home, "a,b.png");
  writeFileSync(comma, "");

  it("are split at path_sep, and in --image_path at a comma that is in no file's name", () => {
    const split = (given: Partial<RunOptions>, flag = "--image_path"): unknown =>
      pictureFiles(options(given), typed(flag));
    expect(split({ image: ["a.png,b.png"] })).toEqual({ files: ["a.png", "b.png"], together: true });
    expect(split({ image: ["a.png,b.png"] }, "--image")).toEqual({ files: ["a.png,b.png"], together: false });
    expect(split({ image: ["a;b,c"], path_sep: ";" }, "--image")).toEqual({ files: ["a", "b,c"], together: true });
    expect(split({ image: [comma] })).toEqual({ files: [comma], together: false });
    expect(split({ image: [comma], path_sep: "," })).toMatchObject({ together: true });
    expect(split({})).toEqual({ files: [], together: false });
  });
});

import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openHf } from "../../../src/checkpoint/open.ts";
import { MmtrtError } from "../../../src/diagnostics/index.ts";
import { readModel } from "../../../src/models/registry.ts";
import { readImageProcessor } from "../../../src/runtime/image/processor-config.ts";
import { ROOT } from "../../support/sources.ts";

const fixture = (name: string): string => join(ROOT, "test/fixtures/parity", name);

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "mmtrt-folders-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

async function copied(name: string): Promise<string> {
  await cp(fixture(name), dir, { recursive: true });
  return dir;
}

async function changeConfig(change: Record<string, unknown>): Promise<void> {
  const file = join(dir, "config.json");
  await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, "utf8")), ...change }));
}

async function problemsOf(path: string, visionTowerDir?: string): Promise<string[]> {
  try {
    const source = await openHf(path, { visionTowerDir });
    await source.close();
    readModel(source.config);
    return [];
  } catch (error) {
    if (!(error instanceof MmtrtError)) throw error;
    return error.problems.map(({ code, what }) => `${code} ${what.replaceAll(dir, "DIR")}`);
  }
}

const CLIP_PROCESSOR = {
  image_processor_type: "CLIPImageProcessor",
  size: { shortest_edge: 20 },
  crop_size: { height: 20, width: 20 },
};

describe("VILA's three folders", () => {
  it("are one model, with tokenizer and processor from where they lie, whatever the directory is called", async () => {
    await copied("vila_linear");
    await writeFile(join(dir, "llm/tokenizer.json"), "{}");
    await writeFile(join(dir, "llm/generation_config.json"), "{}");
    await writeFile(join(dir, "vision_tower/preprocessor_config.json"), JSON.stringify(CLIP_PROCESSOR));
    const source = await openHf(dir);
    await source.close();
    expect(source.extraFiles).toEqual([
      "llm/generation_config.json",
      "llm/tokenizer.json",
      "vision_tower/preprocessor_config.json",
    ]);
    expect(source.weightFiles).toHaveLength(3);
    expect([...source.tensors.keys()].some(name => name.startsWith("llm.model.layers.0."))).toBe(true);
    expect(readModel(source.config).spec).toMatchObject({ modelType: "vila", vision: { numVisualFeatures: 16 } });
    const made = source.generatedFiles.get("preprocessor_config.json") ?? "";
    const processor = readImageProcessor(JSON.parse(made), "preprocessor_config.json");
    expect(processor.resize).toEqual({ height: 20, width: 20 });
    expect(processor.crop).toBeUndefined();
  });

  it("name the folder that is missing or holds no checkpoint", async () => {
    await copied("vila_linear");
    await rm(join(dir, "mm_projector"), { recursive: true });
    expect(await problemsOf(dir)).toEqual(["CKP019 DIR/mm_projector is not a checkpoint: there is no such directory"]);
    await rm(join(dir, "llm/model.safetensors"));
    expect((await problemsOf(dir))[0]).toMatch(/^CKP019 DIR\/(llm|mm_projector) is not a checkpoint/);
  });

  it.each([
    [{ s2: true }, "SPC004 s2"],
    [{ mm_use_im_start_end: true }, "SPC004 mm_use_im_start_end"],
    [{ vision_resolution: 448 }, "SPC004 vision_resolution"],
    [{ hidden_size: 33 }, "SPC005 hidden_size"],
    [{ mm_hidden_size: 29 }, "SPC005 mm_hidden_size"],
    [{ mm_vision_select_layer: -9 }, "SPC006 mm_vision_select_layer"],
    [{ fancy: 1 }, "SPC003 fancy"],
  ])("are refused with %o", async (change, problem) => {
    await copied("vila_linear");
    await changeConfig(change);
    expect((await problemsOf(dir)).map(text => text.slice(0, problem.length))).toEqual([problem]);
  });

  it("are refused with a projector that is not built, or one that does not fit the tower", async () => {
    await copied("vila_linear");
    const file = join(dir, "mm_projector/config.json");
    const config = JSON.parse(await readFile(file, "utf8"));
    await writeFile(file, JSON.stringify({ ...config, mm_projector_type: "mlp_downsample_2x2_fix" }));
    expect((await problemsOf(dir))[0]).toMatch(
      /^SPC004 mm_projector_cfg.mm_projector_type is "mlp_downsample_2x2_fix"/,
    );
    await writeFile(file, JSON.stringify({ ...config, mm_projector_type: "mlp_downsample" }));
    await changeConfig({ mm_vision_select_feature: "cls_patch" });
    expect((await problemsOf(dir))[0]).toMatch(/^SPC006 .* gives 17 rows, which are no square/);
  });
});

describe("LLaVA's own layout", () => {
  it("takes the vision tower from the directory given, of a whole CLIP the image half", async () => {
    await copied("llava_original");
    await changeConfig({ mm_vision_tower: "openai/clip-vit-large-patch14-336" });
    expect(await problemsOf(dir)).toEqual([
      'CKP059 the vision tower "openai/clip-vit-large-patch14-336" is not stored with the model',
    ]);
    expect(await problemsOf(dir, join(dir, "clip"))).toEqual([]);
    const source = await openHf(dir, { visionTowerDir: join(dir, "clip") });
    await source.close();
    expect([...source.tensors.keys()].some(name => name.startsWith("text_model."))).toBe(false);
    expect(source.tensors.has("vision_tower.vision_model.embeddings.class_embedding")).toBe(true);
  });

  it("makes pictures square with bars when the model was trained so", async () => {
    await copied("llava_original");
    await writeFile(join(dir, "clip/preprocessor_config.json"), JSON.stringify(CLIP_PROCESSOR));
    const source = await openHf(dir);
    await source.close();
    const made = JSON.parse(source.generatedFiles.get("preprocessor_config.json") ?? "");
    expect(readImageProcessor(made, "preprocessor_config.json").squarePad).toEqual([122, 116, 104]);
  });

  it("refuses a tower's directory for a model that stores its own", async () => {
    expect(await problemsOf(fixture("llava_mqa"), fixture("llava_original/clip"))).toEqual([
      `CKP059 --vision_tower_dir is given, but ${fixture("llava_mqa")} names no vision tower of its own (mm_vision_tower)`,
    ]);
  });
});

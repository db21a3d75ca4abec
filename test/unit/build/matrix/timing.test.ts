import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { Cache } from "../../../../src/build/cache/store.ts";
import type { BuilderIdentity } from "../../../../src/build/matrix/keys.ts";
import { TimingCaches } from "../../../../src/build/matrix/timing.ts";
import { withDefaults } from "../../../../src/options/define.ts";
import { type BuildOptions, buildOptions } from "../../../../src/options/tables/build.ts";
import { Workspace } from "../../../support/pipeline.ts";

const work = new Workspace();
afterEach(() => work.clean());

const BUILDER: BuilderIdentity = { backend: "tensorrt", builder: "trtexec", version: "10.16.0", gpus: ["sm90"] };
const cellOf = (given: Partial<BuildOptions> = {}): { readonly build: BuildOptions } => ({
  build: withDefaults(buildOptions, { checkpoint_dir: "c", output_dir: "o", backend: "tensorrt", ...given }),
});

async function setUp(): Promise<{ readonly dir: string; readonly cache: Cache; readonly copy: string }> {
  const dir = await work.dir();
  return { dir, cache: await Cache.open(join(dir, "cache")), copy: join(dir, "copy") };
}

describe("timing caches", () => {
  it("are one for each builder and kind of GPU, and none where nothing is timed", async () => {
    const timing = new TimingCaches((await setUp()).cache);
    const name = timing.nameOf(cellOf(), BUILDER);
    expect(timing.nameOf(cellOf({ max_batch_size: 19 }), { ...BUILDER })).toBe(name);
    expect(timing.nameOf(cellOf(), { ...BUILDER, version: "10.15.0" })).not.toBe(name);
    expect(timing.nameOf(cellOf(), { ...BUILDER, gpus: ["sm89"] })).not.toBe(name);
    expect(timing.nameOf(cellOf({ backend: "tensorrt_rtx" }), BUILDER)).toBeUndefined();
    expect(timing.nameOf(cellOf({ backend: "onnxruntime" }), null)).toBeUndefined();
  });

  it("pass from build to build by copies", async () => {
    const { cache, copy } = await setUp();
    const timing = new TimingCaches(cache);
    await timing.take("k", copy);
    await expect(readFile(copy)).rejects.toThrow(/ENOENT/);
    // A build that wrote none leaves none.
    await timing.give("k", copy);
    await writeFile(copy, "one");
    await timing.give("k", copy);
    await writeFile(copy, "half writ");
    await timing.take("k", copy);
    expect(await readFile(copy, "utf8")).toBe("one");
  });

  it("of the user's own path are read and replaced there", async () => {
    const { dir, cache, copy } = await setUp();
    const file = join(dir, "mine.cache");
    const timing = new TimingCaches(cache);
    const name = timing.nameOf(cellOf({ timing_cache: file }), BUILDER) ?? "";
    await writeFile(copy, "one");
    await timing.give(name, copy);
    expect(await readFile(file, "utf8")).toBe("one");
  });

  it("that are pinned stay what they were when they were locked, whatever was built since", async () => {
    const { cache, copy } = await setUp();
    const free = new TimingCaches(cache);
    await writeFile(copy, "one");
    await free.give("k", copy);
    const pinned = await free.pin(["k", "none"]);
    expect(Object.keys(pinned)).toEqual(["k"]);
    await writeFile(copy, "two");
    await free.give("k", copy);
    const frozen = new TimingCaches(cache, pinned);
    await frozen.take("k", copy);
    expect(await readFile(copy, "utf8")).toBe("one");
    await writeFile(copy, "three");
    await frozen.give("k", copy);
    await free.take("k", copy);
    expect(await readFile(copy, "utf8")).toBe("two");
    await expect(new TimingCaches(cache, { k: "0".repeat(64) }).take("k", copy)).rejects.toThrow(/MTX016/);
  });
});

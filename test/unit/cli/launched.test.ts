import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { partOf } from "../../../src/cli/run/launched.ts";
import { FIXTURES } from "../../support/describe-parity.ts";
import { Workspace } from "../../support/pipeline.ts";
import { splitEngine } from "../../support/ranks.ts";

const work = new Workspace();
afterAll(() => work.clean());
afterEach(() => vi.unstubAllEnvs());

function launch(rank: number, size: number): void {
  vi.stubEnv("OMPI_COMM_WORLD_RANK", String(rank));
  vi.stubEnv("OMPI_COMM_WORLD_SIZE", String(size));
}

describe("mmtrt run under a launcher", () => {
  it("gives all work on text to the first process, and refuses another number of processes than ranks", async () => {
    const engine = await splitEngine(work, `${FIXTURES}/llama_gqa`, { tp: 2 });
    expect(await partOf(engine, false)).toEqual({ does: "all" });
    launch(0, 2);
    expect(await partOf(engine, false)).toEqual({ does: "all" });
    launch(1, 2);
    expect(await partOf(engine, false)).toEqual({ does: "nothing" });
    launch(0, 3);
    await expect(partOf(engine, false)).rejects.toThrow(/RUN040.*3 processes were launched and .* has 2 ranks/s);
    launch(1, 3);
    expect(await partOf(engine, false)).toEqual({ does: "nothing" });
  });

  it("shares the images of an engine with pictures, on one machine, unless the native runner does all", async () => {
    const engine = await splitEngine(work, `${FIXTURES}/llava_qwen2`, { tp: 2 });
    launch(0, 2);
    expect(await partOf(engine, false)).toMatchObject({ does: "requests" });
    expect(await partOf(engine, true)).toEqual({ does: "all" });
    launch(1, 2);
    expect(await partOf(engine, false)).toMatchObject({ does: "images" });
    expect(await partOf(engine, true)).toEqual({ does: "nothing" });
    vi.stubEnv("OMPI_COMM_WORLD_LOCAL_SIZE", "1");
    expect(await partOf(engine, false)).toEqual({ does: "nothing" });
    launch(0, 2);
    await expect(partOf(engine, false)).rejects.toThrow(/RUN041.*several machines/s);
  });
});

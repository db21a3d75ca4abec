import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { doesWork } from "../../../src/cli/run/launched.ts";
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
  it("works in the first process alone, and refuses another number of processes than ranks", async () => {
    const engine = await splitEngine(work, `${FIXTURES}/llama_gqa`, { tp: 2 });
    expect(await doesWork(engine)).toBe(true);
    launch(0, 2);
    expect(await doesWork(engine)).toBe(true);
    launch(1, 2);
    expect(await doesWork(engine)).toBe(false);
    launch(0, 3);
    await expect(doesWork(engine)).rejects.toThrow(/RUN040.*3 processes were launched and .* has 2 ranks/s);
  });
});

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { JOBS } from "../support/fault-jobs.ts";
import { buildShim, FaultRig } from "../support/faults.ts";

const dir = mkdtempSync(join(tmpdir(), "mmtrt-shim-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const shim = buildShim(dir);

/** Minutes of them: scripts/faults.ts alone tries these. */
const LONG = ["matrix", "convert to AWQ", "plugins build with nvcc, which fails itself"];

/** Spread over the run by its number of calls, from the first to the last; scripts/faults.ts tries hundreds. */
const FAULTS: readonly (readonly [how: string, part: number])[] = [
  ["EIO", 0.05],
  ["ENOSPC", 0.3],
  ["SHORT", 0.5],
  ["EACCES", 0.6],
  ["KILL", 0.75],
  ["TERM", 0.85],
  ["EROFS", 0.95],
  ["KILL", 1],
];

describe.skipIf(shim === undefined)(
  shim === undefined
    ? "no C compiler on Linux: faults are not tried"
    : "a system call that fails leaves the old result or the new one, and the next run makes the new one",
  () => {
    it.each(JOBS.filter(({ name }) => !LONG.includes(name)).map(job => [job.name, job] as const))(
      "in %s",
      { timeout: 300_000 },
      async (_, job) => {
        const rig = await FaultRig.open(job, shim as string);
        try {
          for (const [how, part] of FAULTS) {
            const at = Math.max(1, Math.floor(rig.calls * part));
            expect([how, at, await rig.survive({ at, how })]).toEqual([how, at, undefined]);
          }
        } finally {
          rig.close();
        }
      },
    );
  },
);

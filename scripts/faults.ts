import { appendFileSync, mkdtempSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { JOBS } from "../test/support/fault-jobs.ts";
import { buildShim, FaultRig, HOWS } from "../test/support/faults.ts";

/**
 * `npx tsx scripts/faults.ts [--faults 500] [--seed N] [--only WORD] [--results FILE]`: system calls of convert, build, lora
 * merge and matrix fail at random places, or the process ends there. After each, the old result is there or the new one,
 * and the next run makes the new one and leaves nothing behind. Needs Linux and a C compiler.
 */
const { values } = parseArgs({
  options: {
    faults: { type: "string", default: "500" },
    seed: { type: "string", default: "1" },
    only: { type: "string", default: "" },
    results: { type: "string" },
  },
});

/** The low bits of a linear congruential generator repeat soon; the high ones are enough here. */
function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return below => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

async function main(): Promise<number> {
  const dir = mkdtempSync(join(tmpdir(), "mmtrt-faults-"));
  const begin = performance.now();
  try {
    const shim = buildShim(dir);
    if (shim === undefined) throw new Error("no C compiler, or not Linux");
    const jobs = JOBS.filter(({ name }) => name.includes(values.only));
    const each = Math.ceil(Number(values.faults) / jobs.length);
    const next = random(Number(values.seed));
    const failures: string[] = [];
    const counted: Record<string, number> = {};
    for (const job of jobs) {
      const rig = await FaultRig.open(job, shim);
      counted[job.name] = rig.calls;
      console.log(`${job.name}: ${rig.calls} calls, ${each} faults`);
      for (let i = 0; i < each; i++) {
        const fault = { at: 1 + next(rig.calls), how: HOWS[next(HOWS.length)] as string };
        const wrong = await rig.survive(fault);
        if (wrong === undefined) continue;
        failures.push(`${job.name}, ${fault.how} at call ${fault.at}: ${wrong}`);
        console.log(failures.at(-1));
      }
      rig.close();
    }
    const seconds = Math.round((performance.now() - begin) / 100) / 10;
    const faults = each * jobs.length;
    const result = {
      bench: "faults",
      faults,
      seed: Number(values.seed),
      failures: failures.length,
      calls: counted,
      seconds,
    };
    console.log(JSON.stringify(result));
    if (values.results !== undefined)
      appendFileSync(values.results, `${JSON.stringify({ ...result, machine: machine() })}\n`);
    return failures.length === 0 ? 0 : 1;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function machine(): object {
  return { cpu: cpus()[0]?.model.trim(), cores: cpus().length, node: process.version };
}

process.exitCode = await main();

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { childrenOf } from "../support/processes.ts";
import { type Finished, program, Rig, type Running } from "../support/rig.ts";

const MODEL = fileURLToPath(new URL("../fixtures/models/llava-shapes", import.meta.url));
const DEMO = join(MODEL, "demo.png");
const ASKED = ["--input_text", "Describe the image.", "What colour is the star?", "Describe the image."];
/** Where the processes meet; short, as paths of sockets are. */
const meeting = mkdtempSync(join(tmpdir(), "mmtrt-m-"));

const rig = new Rig();
afterAll(() => {
  rig.close();
  rmSync(meeting, { recursive: true, force: true });
});
beforeAll(async () => {
  await rig.run(["convert", MODEL, "--output_dir", "checkpoint", "--tp_size", "2", "--quiet"]);
  const limits = ["--max_batch_size", "4", "--max_input_len", "120", "--max_seq_len", "160"];
  const built = await rig.run(["build", "--checkpoint_dir", "checkpoint", "--output_dir", "engine", ...limits]);
  expect(built.code).toBe(0);
}, 120_000);

const argv = (...more: readonly string[]): readonly string[] => ["run", "--engine_dir", "engine", "--json", ...more];
const pictured = argv(...ASKED, "--image", DEMO, DEMO, DEMO);

/** One process of a launch as Open MPI's environment tells it. */
function processOf(rank: number, job: string, args: readonly string[]): Running {
  const place = { OMPI_COMM_WORLD_RANK: String(rank), OMPI_COMM_WORLD_SIZE: "2", PMIX_NAMESPACE: job };
  return rig.start(args, { env: { ...place, TMPDIR: meeting } });
}

const both = (job: string, args: readonly string[]): Promise<readonly Finished[]> =>
  Promise.all([processOf(0, job, args).finished, processOf(1, job, args).finished]);

/** What mmtrt has left there; its libraries and the launcher keep files of their own. */
const left = (): readonly string[] => readdirSync(meeting).filter(name => /^mmtrt-\d+-/.test(name));

function outputs({ stdout }: { readonly stdout: string }): unknown {
  const lines = stdout.trimEnd().split("\n");
  return (JSON.parse(lines.at(-1) as string) as { readonly outputs?: unknown }).outputs;
}

describe("mmtrt run as two processes of a launch", () => {
  it("answers as one process does: three images, one, none, and a file of requests", async () => {
    const file = rig.file(
      "requests.jsonl",
      `{"input_text": "Describe the image.", "image": ${JSON.stringify(DEMO)}}\n`,
    );
    const right = rig.file("right.jsonl", `{"question": "Describe the image.", "expected": "x", "image": "${DEMO}"}\n`);
    for (const args of [
      pictured,
      argv("--image", DEMO, "--input_text", "Describe the image."),
      argv("--input_text", "Describe the image."),
      argv("--input_file", file),
      argv("--check_accuracy", right),
    ]) {
      const alone = await rig.run(args);
      const [first, second] = await both("job", args);
      expect([first?.code, second]).toEqual([alone.code, { code: 0, signal: null, stdout: "", stderr: "" }]);
      expect(alone.code).toBe(0);
      expect(outputs(first as Finished)).toEqual(outputs(alone));
    }
    expect(left()).toEqual([]);
  }, 120_000);

  it("ends the second with RUN042 when the first is killed, and leaves nothing behind", async () => {
    const [first, second] = [
      processOf(0, "killed", argv(...ASKED, "--image", DEMO, DEMO, DEMO, "--batch_size", "1")),
    ].concat(processOf(1, "killed", pictured)) as [Running, Running];
    await first.says(/onnxruntime|tensorrt|"event"/);
    first.kill("SIGKILL");
    const end = await second.finished;
    expect([end.code, end.stdout + end.stderr]).toEqual([3, expect.stringMatching(/RUN042/)]);
    expect(left()).toEqual([]);
  }, 60_000);
});

const mpirun = findMpirun();
describe("mmtrt run under mpirun", () => {
  it("answers as one process does, and ends soon when one of its processes is killed", async context => {
    if (mpirun === undefined) context.skip("Open MPI's mpirun is not installed");
    const start = (): ReturnType<typeof spawn> =>
      spawn(
        mpirun as string,
        ["--allow-run-as-root", "--oversubscribe", "-n", "2", process.execPath, program(), ...pictured],
        {
          cwd: rig.dir,
          env: { PATH: process.env.PATH, HOME: rig.dir, TMPDIR: meeting },
          stdio: ["ignore", "pipe", "ignore"],
        },
      );
    const child = start();
    let stdout = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    expect(await new Promise(resolve => child.once("close", resolve))).toBe(0);
    expect(outputs({ stdout })).toEqual(outputs(await rig.run(pictured)));
    const killed = start();
    const ended = new Promise(resolve => killed.once("close", resolve));
    let [one]: readonly number[] = [];
    while (one === undefined) {
      await new Promise(resolve => setImmediate(resolve));
      one = childrenOf(killed.pid as number)[1];
    }
    process.kill(one, "SIGKILL");
    expect(await ended).not.toBe(0);
    expect(left()).toEqual([]);
  }, 90_000);
});

function findMpirun(): string | undefined {
  try {
    return execFileSync("mpirun", ["--version"], { encoding: "utf8" }).includes("Open MPI") ? "mpirun" : undefined;
  } catch {
    return undefined;
  }
}

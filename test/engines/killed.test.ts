import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, it, vi } from "vitest";
import { openEngine } from "../../src/formats/engine-dir.ts";
import { stampProblems } from "../../src/formats/engine-stamp.ts";
import { childrenOf, isAlive } from "../support/processes.ts";
import { Rig } from "../support/rig.ts";
import { ROOT } from "../support/sources.ts";
import { describeTensorRT } from "../support/tensorrt.ts";

const DRIVER = join(ROOT, "native-plugins/driver");
/** Says nothing for minutes, as TensorRT does within a long phase, so that no broken pipe ends it. */
const SILENT = `import sys, time
sys.path.insert(0, ${JSON.stringify(DRIVER)})
from trt_driver.parent import end_with
if len(sys.argv) > 1: end_with(int(sys.argv[1]))
print("ready", flush=True)
time.sleep(600)`;

/** Starts the silent program in a group of its own, once told its parent and once not, and prints both processes. */
const PARENT = `import { spawn } from "node:child_process";
const [python, program] = process.argv.slice(1);
const start = words => spawn(python, ["-B", "-c", program, ...words], { detached: true, stdio: ["ignore", "pipe", "ignore"] });
const both = [start([String(process.pid)]), start([])];
await Promise.all(both.map(child => new Promise(ready => child.stdout.once("data", ready))));
console.log(JSON.stringify(both.map(child => child.pid)));
setInterval(() => {}, 1000);`;

describeTensorRT("a build that is killed without a word", python => {
  const rig = new Rig();
  afterAll(() => rig.close());
  const argv = [
    ...["build", "--checkpoint_dir", "checkpoint", "--output_dir", "engine", "--json"],
    ...["--backend", "tensorrt_rtx", "--python", python, "--compute_capabilities", "86"],
    ...["--max_batch_size", "3", "--max_input_len", "60", "--max_seq_len", "97"],
  ];

  it("ends a driver that is silent, which would go on by itself", async () => {
    const parent = spawn(process.execPath, ["--input-type=module", "-e", PARENT, python, SILENT]);
    const [line] = await once(parent.stdout, "data");
    const [watching = 0, careless = 0] = JSON.parse(String(line)) as number[];
    try {
      parent.kill("SIGKILL");
      await once(parent, "exit");
      await vi.waitFor(() => expect(isAlive(watching)).toBe(false), 3000);
      expect(isAlive(careless)).toBe(true);
    } finally {
      process.kill(careless, "SIGKILL");
    }
  });

  it("takes TensorRT with it, leaves no engine under its name, and is built whole by the next run", async () => {
    const fixture = join(ROOT, "test/fixtures/parity/llava_mqa");
    const converted = await rig.run(["convert", fixture, "--output_dir", "checkpoint", "--dtype", "float16"]);
    expect(converted.code).toBe(0);
    const running = rig.start(argv);
    await running.says(/"progress".*engine llm/);
    const stage = join(rig.dir, "engine.partial");
    const { pid } = JSON.parse(readFileSync(join(stage, "build.json"), "utf8"));
    const builders = childrenOf(pid);
    expect(builders).toHaveLength(1);
    running.kill("SIGKILL");
    expect((await running.finished).signal).toBe("SIGKILL");
    await vi.waitFor(() => expect(builders.filter(isAlive)).toEqual([]));
    expect(existsSync(join(rig.dir, "engine"))).toBe(false);
    expect(readdirSync(join(stage, "llm")).filter(name => name.endsWith(".engine"))).toEqual([]);

    const again = await rig.run(argv);
    expect([again.code, again.stderr]).toEqual([0, ""]);
    expect(readdirSync(rig.dir).sort()).toEqual(["checkpoint", "engine"]);
    const engine = await openEngine(join(rig.dir, "engine"));
    expect(engine.manifest.parts.map(({ name }) => name)).toEqual(["llm/rank0", "visual"]);
    expect(await stampProblems(engine)).toEqual([]);
  });
});

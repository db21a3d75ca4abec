import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, it, vi } from "vitest";
import { openEngine } from "../../src/formats/engine-dir.ts";
import { stampProblems } from "../../src/formats/engine-stamp.ts";
import { childrenOf, isAlive } from "../support/processes.ts";
import { Rig } from "../support/rig.ts";
import { ROOT } from "../support/sources.ts";
import { describeTensorRT } from "../support/tensorrt.ts";

describeTensorRT("a build that is killed without a word", python => {
  const rig = new Rig();
  afterAll(() => rig.close());
  const argv = [
    ...["build", "--checkpoint_dir", "checkpoint", "--output_dir", "engine", "--json"],
    ...["--backend", "tensorrt_rtx", "--python", python, "--compute_capabilities", "86"],
    ...["--max_batch_size", "3", "--max_input_len", "60", "--max_seq_len", "97"],
  ];

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

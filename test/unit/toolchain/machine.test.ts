import { describe, expect, it } from "vitest";
import { parseGpus, parseTrtexecVersion } from "../../../src/toolchain/machine.ts";
import { probe, which } from "../../../src/toolchain/probe.ts";

describe("what tools say", () => {
  it("nvidia-smi: one GPU a line, memory in MiB, other lines left out", () => {
    const csv =
      "NVIDIA H200, 9.0, 143771, 580.65.06\nNVIDIA RTX PRO 6000, 12.0, 97887, 580.65.06\nNo devices were found\n\n[N/A], [N/A], 3, 4\n";
    expect(parseGpus(csv)).toEqual([
      { name: "NVIDIA H200", sm: 90, memoryBytes: 143771 * 2 ** 20, driver: "580.65.06" },
      { name: "NVIDIA RTX PRO 6000", sm: 120, memoryBytes: 97887 * 2 ** 20, driver: "580.65.06" },
    ]);
  });

  it.each([
    ["&&&& RUNNING TensorRT.trtexec [TensorRT v101303] [b9] # trtexec", "10.13.3"],
    ["&&&& RUNNING TensorRT.trtexec [TensorRT v8601] # trtexec --help", "8.6.1"],
    ["usage: something else v1", undefined],
  ])("trtexec's banner %j is version %s", (stdout, version) => {
    expect(parseTrtexecVersion({ stdout, stderr: "" })).toBe(version);
  });
});

describe("probe", () => {
  it("tells a good end, a bad end and an absent program apart", async () => {
    expect(await probe(process.execPath, ["-p", "19 * 989"])).toEqual({ state: "ok", stdout: "18791\n", stderr: "" });
    expect(await probe(process.execPath, ["-e", "process.exit(3)"])).toMatchObject({ state: "failed" });
    expect(await probe("no-such-program-of-mmtrt", [])).toMatchObject({ state: "absent" });
  });

  it("gives up on a program that does not answer, and on one that does not stop talking", async () => {
    expect(await probe(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { timeoutMs: 300 })).toMatchObject({
      state: "failed",
    });
    const flood = 'for (;;) require("fs").writeSync(1, "x".repeat(65536))';
    expect((await probe(process.execPath, ["-e", flood])).stdout.length).toBeLessThanOrEqual(1 << 20);
  });

  it("ends with the caller's signal", async () => {
    const controller = new AbortController();
    const answer = probe(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { signal: controller.signal });
    controller.abort(new Error("stop"));
    await expect(answer).rejects.toThrow("stop");
  });

  it("finds nothing in a PATH of nothing", async () => {
    expect(await which("node", "")).toBeUndefined();
    expect(await which("node", "/nowhere::")).toBeUndefined();
  });
});

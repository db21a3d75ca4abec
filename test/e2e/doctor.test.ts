import { chmodSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { Rig } from "../support/rig.ts";

const rig = new Rig();
afterAll(() => rig.close());

interface Part {
  readonly name: string;
  readonly state: string;
  readonly detail: string;
}

/** A stand-in for a tool: prints the text and ends with the code. */
function program(name: string, text: string, code = 0): void {
  chmodSync(rig.file(`bin/${name}`, `#!/bin/sh\ncat <<'END'\n${text}\nEND\nexit ${code}\n`), 0o755);
}

async function parts(): Promise<ReadonlyMap<string, Part>> {
  const { code, stdout, stderr } = await rig.run(["doctor", "--json"], {
    env: { PATH: `${join(rig.dir, "bin")}:/bin:/usr/bin` },
  });
  expect([code, stderr]).toEqual([0, ""]);
  const { parts: found } = JSON.parse(stdout) as { parts: readonly Part[] };
  return new Map(found.map(part => [part.name, part]));
}

describe("mmtrt doctor", () => {
  it("shows what the tools on PATH say of themselves", async () => {
    program("nvidia-smi", "NVIDIA H200, 9.0, 143771, 580.65.06");
    program("nvcc", "nvcc: NVIDIA (R) Cuda compiler driver\nCuda compilation tools, release 13.0, V13.0.88");
    program("trtexec", "&&&& RUNNING TensorRT.trtexec [TensorRT v101303] [b9] # trtexec --help");
    program(
      "python3",
      '{"event":"start","module":"tensorrt_rtx","version":"1.7.1.116","rtx":true,"sms":[86],"gpus":[]}',
    );
    const found = await parts();
    expect(found.get("NVIDIA GPU")?.detail).toBe("NVIDIA H200, SM 90, 151 GB, driver 580.65.06");
    expect(found.get("nvcc")?.detail).toBe("CUDA 13.0");
    expect(found.get("trtexec")?.detail).toBe(`TensorRT 10.13.3 (${join("<dir>", "bin/trtexec")})`);
    expect(found.get("TensorRT for Python")?.detail).toBe(`tensorrt_rtx 1.7.1.116 (${join("<dir>", "bin/python3")})`);
    expect(found.get("Node.js")?.detail).toBe(process.versions.node);
    for (const name of ["onnxruntime-node", "sharp", "CPU", "disk"]) expect(found.get(name)?.state, name).toBe("ok");
  });

  it("tells a tool that is there and fails from one that is not there", async () => {
    program("nvidia-smi", "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", 9);
    program("trtexec", "error while loading shared libraries: libnvinfer.so.10", 127);
    program("python3", "", 1);
    const found = await parts();
    expect(found.get("NVIDIA GPU")?.state).toBe("missing");
    expect(found.get("trtexec")).toMatchObject({
      state: "broken",
      detail: expect.stringMatching(/bin\/trtexec does not start/),
    });
    expect(found.get("TensorRT for Python")?.state).toBe("missing");
  });

  it("prints a table with what each part is for", async () => {
    const { code, stdout } = await rig.run(["doctor"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^part +state +used for +found\nNode\.js +ok +/);
    expect(stdout).toMatch(/^sharp +ok +decodes and resizes images +\S+ \(libvips \S+\)$/m);
  });
});

import { describe, expect, it } from "vitest";
import { TrtexecReader } from "../../../src/toolchain/tensorrt/trtexec-progress.ts";
import { SUCCESS_LOG } from "../../support/trtexec-log.ts";

describe("trtexec's log", () => {
  const reader = new TrtexecReader();
  const events = SUCCESS_LOG.flatMap(line => reader.read(line));

  it("gives percentages that only grow and end at 100", () => {
    const percents = events.flatMap(event => (event.event === "progress" ? [event.percent] : []));
    expect(percents).toEqual([0, 2, 5, 10, 90, 95, 98, 100]);
  });

  it("gives each line its severity, without time and tool", () => {
    expect(events).toContainEqual({
      event: "log",
      severity: "warning",
      text: "ModelImporter.cpp:1071: Make sure input write_indices has Int64 binding.",
    });
  });

  it("tells version, success, memory, warnings, and the profiles as the engine has them", () => {
    expect(reader.facts(["context", "generation"])).toEqual({
      version: "10.16.0",
      passed: true,
      weights: 576,
      activation: 8193536,
      profiles: [
        { name: "context", shapes: { x: { min: [1, 1, 19], opt: [2, 3, 19], max: [4, 5, 19] } } },
        { name: "generation", shapes: { x: { min: [1, 1, 19], opt: [2, 1, 19], max: [4, 1, 19] } } },
      ],
      warnings: ["ModelImporter.cpp:1071: Make sure input write_indices has Int64 binding."],
    });
  });

  it("of a failed run has not passed", () => {
    const failed = new TrtexecReader();
    failed.read("&&&& FAILED TensorRT.trtexec [TensorRT v8601] # trtexec --onnx=m.onnx");
    expect(failed.facts([])).toMatchObject({ passed: false, version: "8.6.1" });
  });

  it("takes lines of any other form as they are", () => {
    expect(new TrtexecReader().read("free text")).toEqual([{ event: "log", severity: "info", text: "free text" }]);
    expect(new TrtexecReader().read("Model input x (profile 99999): min=1, opt=1, max=1")).toHaveLength(1);
  });
});

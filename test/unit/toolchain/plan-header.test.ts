import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { decodePlanHeader, readPlanHeader } from "../../../src/toolchain/tensorrt/plan-header.ts";
import { fakePlan } from "../../support/standin.ts";
import { tempFolder } from "../../support/temp-folder.ts";

/** The first 32 bytes of a file that TensorRT-RTX 1.7.1.116 wrote, which has 298972 bytes. */
const RTX = Buffer.from(
  "7674727400000000020000000000 0000dc8f04000000000001070174767472 74".replaceAll(" ", ""),
  "hex",
);

describe("an engine's first bytes", () => {
  it("name library and version", () => {
    expect(decodePlanHeader(RTX, 298_972)).toEqual({ library: "tensorrt_rtx", version: "1.7.1.116", bytes: 298_972 });
    expect(decodePlanHeader(fakePlan("ftrt", [10, 13, 3, 9]), 989)).toMatchObject({
      library: "tensorrt",
      version: "10.13.3.9",
    });
  });

  it("betray a file that was cut short", () => {
    expect(decodePlanHeader(RTX, 298_971)).toBeUndefined();
  });

  it("of any other file mean nothing, whatever its length", async () => {
    const dir = tempFolder("plan");
    for (const text of [
      "",
      "ftrt",
      "vtrt",
      "\x08\x07\x12\x07pytorch",
      "version https://git-lfs.github.com/spec/v1\n",
    ]) {
      writeFileSync(join(dir, "file"), text);
      expect(await readPlanHeader(join(dir, "file"))).toBeUndefined();
    }
  });
});

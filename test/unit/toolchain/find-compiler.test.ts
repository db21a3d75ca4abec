import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { findHostCompiler, findNvcc } from "../../../src/toolchain/nvcc/find.ts";
import { tempFolder } from "../../support/temp-folder.ts";

/** A program that says one thing, whatever it is asked. */
function program(path: string, says: string): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `#!/bin/sh\nprintf '${says}'\n`);
  chmodSync(path, 0o755);
  return path;
}

const NVCC_12 = "Cuda compilation tools, release 12.8, V12.8.61\\n";
const { signal } = new AbortController();

describe("nvcc", () => {
  it("is found below CUDA_HOME when PATH has none, or one that is no nvcc", async () => {
    const [path, home] = [tempFolder("path"), tempFolder("cuda")];
    program(join(path, "nvcc"), "not a compiler\\n");
    const file = program(join(home, "bin", "nvcc"), NVCC_12);
    expect(await findNvcc({ PATH: path, CUDA_HOME: home }, signal)).toEqual({ file, version: "12.8" });
    expect(await findNvcc({ CUDA_HOME: "", CUDA_PATH: home })).toEqual({ file, version: "12.8" });
  });

  it("that is nowhere is missed with every place that was looked at", async () => {
    const home = tempFolder("cuda");
    await expect(findNvcc({ PATH: home, CUDA_HOME: home })).rejects.toThrow(
      new RegExp(`PLG004.*or in ${home}/bin`, "s"),
    );
  });
});

describe("the host's C++ compiler", () => {
  it("is the first on PATH of the usual names that says its version", async () => {
    const path = tempFolder("path");
    program(join(path, "c++"), "");
    const file = program(join(path, "g++"), "g++ (Debian) 12.2.0\\nCopyright\\n");
    program(join(path, "clang++"), "clang version 19\\n");
    expect(await findHostCompiler({ PATH: path, CXX: "" }, signal)).toEqual({ file, version: "g++ (Debian) 12.2.0" });
  });

  it("is CXX where that is set, by its name or its path, and no other", async () => {
    const path = tempFolder("path");
    program(join(path, "g++"), "g++ 12\\n");
    const file = program(join(path, "my-c++"), "mine 1\\n");
    expect(await findHostCompiler({ PATH: path, CXX: "my-c++" })).toEqual({ file, version: "mine 1" });
    expect(await findHostCompiler({ CXX: file })).toEqual({ file, version: "mine 1" });
    await expect(findHostCompiler({ PATH: path, CXX: "absent" })).rejects.toThrow(
      /PLG010.*absent.*CXX \(environment\)/s,
    );
  });

  it("that is nowhere is missed by the names that were tried", async () => {
    await expect(findHostCompiler({})).rejects.toThrow(/PLG010.*c\+\+, g\+\+, clang\+\+.*PATH/s);
  });
});

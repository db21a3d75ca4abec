import { describe, expect, it } from "vitest";
import { missingPackage } from "../../../src/cli/missing-package.ts";

function nodeError(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}

describe("a native package that npm left out", () => {
  it.each([
    [
      nodeError("ERR_MODULE_NOT_FOUND", "Cannot find package 'onnxruntime-node' imported from /x/dist/main.js"),
      "onnxruntime-node is not installed",
    ],
    [nodeError("MODULE_NOT_FOUND", "Cannot find module 'sharp'"), "sharp is not installed"],
    [
      nodeError("ERR_DLOPEN_FAILED", "/x/onnxruntime-node/bin/onnxruntime_binding.node: invalid ELF header"),
      "onnxruntime-node does not load",
    ],
    [
      new Error('Could not load the "sharp" module using the linux-x64 runtime\nPossible solutions:'),
      "sharp does not load",
    ],
  ])("is a problem with the command that installs it: %s", (error, what) => {
    const found = missingPackage(error);
    expect(found?.exitCode).toBe(3);
    expect(found?.problems).toMatchObject([
      { code: "ENV001", what: expect.stringContaining(what), fix: "ONNXRUNTIME_NODE_INSTALL=skip npm install" },
    ]);
  });

  it("is not seen in other errors", () => {
    const others = [
      nodeError("ERR_MODULE_NOT_FOUND", "Cannot find module './chunk.js'"),
      new Error("onnxruntime-node failed to run"),
      "text",
      undefined,
    ];
    expect(others.map(missingPackage)).toEqual(others.map(() => undefined));
  });
});

import { describe, it } from "vitest";

const VARIABLE = "MMTRT_TEST_TENSORRT_PYTHON";
const REASON = `set ${VARIABLE} to a Python with TensorRT-RTX: scripts/install-tensorrt-rtx.sh DIR makes DIR/bin/python`;

/** Tests that build with real TensorRT-RTX. Without it they are skipped with the reason; in CI that is a failure. */
export function describeTensorRT(name: string, body: (python: string) => void): void {
  const python = process.env[VARIABLE];
  if (python !== undefined && python !== "") {
    describe(name, () => body(python));
    return;
  }
  describe(name, () => {
    it("has TensorRT-RTX to build with", context => {
      if (process.env.CI) throw new Error(REASON);
      context.skip(REASON);
    });
  });
}

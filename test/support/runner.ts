import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onnxruntimeHeaders, tensorrtHeaders } from "../../src/cli/plugins/headers.ts";
import { pluginSources } from "../../src/cli/plugins/manifest.ts";
import { buildRunner } from "../../src/cli/plugins/runner.ts";
import { Assistant } from "../../src/runtime/assistant.ts";
import { type DeviceSession, type DeviceSessionOptions, openDeviceSession } from "../../src/runtime/device/session.ts";

const HEADERS = process.env.MMTRT_TEST_ONNXRUNTIME_ROOT;
const TENSORRT = process.env.MMTRT_TEST_TENSORRT_ROOT;
export const NO_RUNNER =
  "needs MMTRT_TEST_ONNXRUNTIME_ROOT with the header of ONNX Runtime's C API, or MMTRT_TEST_RUNNER with a native runner";

/** A runner for graphs on the CPU, compiled here or as MMTRT_TEST_RUNNER names it; undefined without a header. */
export async function nativeRunner(): Promise<string | undefined> {
  const { MMTRT_TEST_RUNNER: given } = process.env;
  if (given !== undefined || HEADERS === undefined) return given;
  const { file } = await buildRunner({
    sources: pluginSources(),
    outputDir: await mkdtemp(join(tmpdir(), "mmtrt-runner-")),
    tensorrt: TENSORRT === undefined ? undefined : await tensorrtHeaders(TENSORRT, "MMTRT_TEST_TENSORRT_ROOT"),
    onnxruntime: await onnxruntimeHeaders(HEADERS, "MMTRT_TEST_ONNXRUNTIME_ROOT"),
    version: "0.0.0-test",
    workers: 2,
    env: process.env,
    signal: new AbortController().signal,
  });
  return file;
}

export function inRunner(
  dir: string,
  runner: string,
  given: Partial<DeviceSessionOptions> = {},
): Promise<Assistant<DeviceSession>> {
  const options = { device: "cpu", deviceIndex: 0, runtime: "auto", recordsSteps: false, threads: 1 } as const;
  return openDeviceSession(dir, { ...options, runner, env: process.env, ...given }).then(Assistant.over);
}

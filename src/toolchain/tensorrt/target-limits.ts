import type { Problem } from "../../diagnostics/index.ts";
import type { FoundTool } from "./find.ts";
import type { EngineRequest } from "./request.ts";
import { RTX_SMS } from "./versions.ts";

type Limited = Pick<EngineRequest, "computeCapabilities" | "optimizationLevel" | "versionCompatible">;

/** What a command line tool cannot build, refused before it fails in its own words. The Python driver asks its library itself. */
export function targetProblems(request: Limited, tool: Pick<FoundTool, "builder">): readonly Problem[] {
  const problems: Problem[] = [];
  const refuse = (what: string, at: string, why: string, fix: string): void =>
    void problems.push({ code: "TRT005", what, at, why, fix });
  const { computeCapabilities = [], optimizationLevel } = request;
  if (
    optimizationLevel !== undefined &&
    !(Number.isInteger(optimizationLevel) && optimizationLevel >= 0 && optimizationLevel <= 5)
  ) {
    refuse(
      `the optimization level is ${optimizationLevel}; expected 0 to 5`,
      "--builder_optimization_level",
      "TensorRT takes a higher one in silence and builds as with 5",
      "give 0 to 5",
    );
  }
  if (tool.builder === "trtexec") {
    if (computeCapabilities.length > 0) {
      refuse(
        "trtexec builds for the GPU of this machine only",
        `--compute_capabilities ${computeCapabilities.join(",")}`,
        "TensorRT times its kernels on the GPU while it builds",
        "leave it out, or --backend tensorrt_rtx, which compiles for SMs it does not have",
      );
    }
    return problems;
  }
  for (const sm of computeCapabilities.filter(sm => !RTX_SMS.includes(sm))) {
    refuse(
      `TensorRT-RTX cannot build for SM ${sm}; it knows ${RTX_SMS.join(", ")}`,
      `--compute_capabilities ${computeCapabilities.join(",")}`,
      "data-centre GPUs are not among its targets",
      "--backend tensorrt on that GPU, or name other compute capabilities",
    );
  }
  if (request.versionCompatible) {
    refuse(
      "version_compatible is not possible with TensorRT-RTX",
      "--version_compatible",
      "such an engine carries TensorRT's lean runtime, which TensorRT-RTX does not have",
      "leave it out, or --backend tensorrt",
    );
  }
  return problems;
}

import { inspectOptions } from "../../options/tables/inspect.ts";
import { defineCommand } from "../command.ts";
import { inspectEngine, inspectOnnx } from "../inspect/graphs.ts";
import { recognise } from "../inspect/recognise.ts";
import { formatReport, type Report } from "../inspect/report.ts";
import {
  type InspectOptions,
  inspectCheckpoint,
  inspectGguf,
  inspectModel,
  inspectSafetensors,
} from "../inspect/weights.ts";

const INSPECTORS: Readonly<Record<Report["kind"], (path: string, options: InspectOptions) => Promise<Report>>> = {
  model: inspectModel,
  gguf: inspectGguf,
  safetensors: inspectSafetensors,
  onnx: inspectOnnx,
  checkpoint: inspectCheckpoint,
  engine: inspectEngine,
};

export const inspect = defineCommand({
  name: "inspect",
  options: inspectOptions,
  async run({ options: { path, tensors }, ui }) {
    const inspector = INSPECTORS[await recognise(path)];
    const report = await inspector(path, { tensors, warn: problem => ui.warn(problem) });
    ui.result(formatReport(path, report), { path, kind: report.kind, ...report.data });
  },
});

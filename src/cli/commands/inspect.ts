import { hubNameOf } from "../../checkpoint/hub/name.ts";
import { fail, throwIfAny } from "../../diagnostics/index.ts";
import { inspectOptions } from "../../options/tables/inspect.ts";
import { defineCommand } from "../command.ts";
import { inspectEngine } from "../inspect/engine.ts";
import { inspectOnnx } from "../inspect/graphs.ts";
import { inspectHub } from "../inspect/hub.ts";
import { recognise } from "../inspect/recognise.ts";
import { formatReport, type LocalKind, type Report } from "../inspect/report.ts";
import {
  type InspectOptions,
  inspectCheckpoint,
  inspectGguf,
  inspectModel,
  inspectSafetensors,
} from "../inspect/weights.ts";

const INSPECTORS: Readonly<Record<LocalKind, (path: string, options: InspectOptions) => Promise<Report>>> = {
  model: inspectModel,
  gguf: inspectGguf,
  safetensors: inspectSafetensors,
  onnx: inspectOnnx,
  checkpoint: inspectCheckpoint,
  engine: inspectEngine,
};

function refuseRequest(path: string, asked: readonly string[], origin: (key: string) => string): never {
  fail({
    code: "RUN020",
    what: `${asked.join(", ")} with ${path}, which is no engine directory`,
    at: origin(asked[0] ?? ""),
    why: "whether a request fits is told by an engine's profiles",
    fix: "give the directory that mmtrt build wrote",
  });
}

export const inspect = defineCommand({
  name: "inspect",
  options: inspectOptions,
  async run({ options: { path, tensors, revision, ...request }, given, origin, ui, signal }) {
    const name = await hubNameOf(path, revision, origin, "path");
    if (name !== undefined) {
      const report = await inspectHub(name, { ui, signal });
      ui.result(formatReport(path, report), { path, kind: report.kind, ...report.data });
      return;
    }
    const kind = await recognise(path);
    const asked = Object.keys(request).filter(given);
    if (kind !== "engine" && asked.length > 0) refuseRequest(path, asked, origin);
    const report = await INSPECTORS[kind](path, { tensors, request, warn: problem => ui.warn(problem) });
    ui.result(formatReport(path, report), { path, kind: report.kind, ...report.data });
    throwIfAny(report.problems ?? []);
  },
});

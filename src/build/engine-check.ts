import type { Problem } from "../diagnostics/index.ts";
import { sizeAt } from "../emit/profiles.ts";
import type { EngineIo } from "../formats/engine-config.ts";
import type { Dim } from "../graph/dim.ts";
import type { EngineReport, EngineTensor } from "../toolchain/tensorrt/request.ts";
import type { EnginePlan } from "./plan.ts";

/**
 * The built engine against the plan: the same inputs and outputs, dtypes and sizes, and the profiles asked for. Builders
 * that print none (trtexec) cannot be compared.
 */
export function engineProblems(plan: EnginePlan, report: EngineReport): readonly Problem[] {
  return [...ioProblems(plan, report), ...profileProblems(plan, report)];
}

function ioProblems({ name, io, profiles }: EnginePlan, report: EngineReport): readonly Problem[] {
  if (report.io === undefined) return [];
  const built = new Map(report.io.tensors.map(tensor => [tensor.name, tensor]));
  const planned = new Set(io.map(tensor => tensor.name));
  const strange = report.io.tensors.filter(tensor => !planned.has(tensor.name));
  return [
    ...io.flatMap(tensor => {
      const seen = built.get(tensor.name);
      if (seen === undefined)
        return [differs(report, `${name} has no ${tensor.kind} ${tensor.name}; expected ${shown(tensor)}`)];
      return sameTensor(tensor, seen, profiles)
        ? []
        : [differs(report, `${tensor.name} of ${name} is an ${shown(seen)}; expected ${shown(tensor)}`)];
    }),
    ...strange.map(tensor =>
      differs(report, `${name} has an ${shown(tensor)} called ${tensor.name}, which the graph does not have`),
    ),
  ];
}

type Shaped = Pick<EngineTensor, "kind" | "dtype" | "shape">;

/**
 * TensorRT may leave a size of an output open that the graph fixes, and it fixes one that every profile fixes, such as the
 * batch of a build for one. It may not fix another open one, or give it another value.
 */
function sameTensor(planned: EngineIo, seen: Shaped, profiles: EnginePlan["profiles"]): boolean {
  return (
    planned.kind === seen.kind &&
    planned.dtype === seen.dtype &&
    planned.shape.length === seen.shape.length &&
    seen.shape.every(
      (size, axis) =>
        size === planned.shape[axis] ||
        (size === -1
          ? planned.kind === "output"
          : profiles.every(profile => isFixed(profile, planned.dims[axis], size))),
    )
  );
}

function isFixed({ sizes }: EnginePlan["profiles"][number], dim: Dim | undefined, size: number): boolean {
  return typeof dim === "string" && (["min", "max"] as const).every(point => sizeAt(sizes, dim, point) === size);
}

function profileProblems({ name, io, profiles }: EnginePlan, report: EngineReport): readonly Problem[] {
  if (report.profiles.length !== profiles.length)
    return [differs(report, `${name} has ${report.profiles.length} profiles; expected ${profiles.length}`)];
  const dynamic = io.filter(({ kind, shape }) => kind === "input" && shape.includes(-1)).map(tensor => tensor.name);
  return profiles.flatMap((profile, index) =>
    dynamic.flatMap(input => {
      const [wanted, seen] = [profile.shapes[input], report.profiles[index]?.shapes[input]].map(
        range => range && [range.min, range.opt, range.max].map(sizes => sizes.join("×")).join(" … "),
      );
      if (wanted === seen) return [];
      return [
        differs(report, `${input} of ${name} has the range ${seen} in profile ${profile.name}; expected ${wanted}`),
      ];
    }),
  );
}

function shown({ kind, dtype, shape }: Shaped): string {
  return `${kind} ${dtype} [${shape.join(", ")}]`;
}

function differs({ file, builder, version }: EngineReport, what: string): Problem {
  return {
    code: "TRT018",
    what,
    at: file,
    why: `${builder} ${version ?? ""} built something else than the graph says, and runs would fail or be wrong`.replace(
      "  ",
      " ",
    ),
    fix: "report it with the .onnx file; another release of TensorRT may build it right",
  };
}

import type { Problem } from "../diagnostics/index.ts";
import type { EngineReport, EngineTensor } from "../toolchain/tensorrt/request.ts";
import type { EnginePlan } from "./plan.ts";

/**
 * The built engine against the plan: the same inputs and outputs, dtypes and sizes, and the profiles asked for. Builders
 * that print none (trtexec) cannot be compared.
 */
export function engineProblems(plan: EnginePlan, report: EngineReport): readonly Problem[] {
  return [...ioProblems(plan, report), ...profileProblems(plan, report)];
}

function ioProblems({ name, io }: EnginePlan, report: EngineReport): readonly Problem[] {
  if (report.io === undefined) return [];
  const built = new Map(report.io.tensors.map(tensor => [tensor.name, tensor]));
  const planned = new Set(io.map(tensor => tensor.name));
  const strange = report.io.tensors.filter(tensor => !planned.has(tensor.name));
  return [
    ...io.flatMap(tensor => {
      const seen = built.get(tensor.name);
      if (seen === undefined)
        return [differs(report, `${name} has no ${tensor.kind} ${tensor.name}; expected ${shown(tensor)}`)];
      return sameTensor(tensor, seen)
        ? []
        : [differs(report, `${tensor.name} of ${name} is an ${shown(seen)}; expected ${shown(tensor)}`)];
    }),
    ...strange.map(tensor =>
      differs(report, `${name} has an ${shown(tensor)} called ${tensor.name}, which the graph does not have`),
    ),
  ];
}

type Shaped = Pick<EngineTensor, "kind" | "dtype" | "shape">;

/** TensorRT may leave a size open that the graph fixes; it may not fix one that is open, or give it another value. */
function sameTensor(planned: Shaped, seen: Shaped): boolean {
  return (
    planned.kind === seen.kind &&
    planned.dtype === seen.dtype &&
    planned.shape.length === seen.shape.length &&
    planned.shape.every(
      (size, axis) => size === seen.shape[axis] || (planned.kind === "output" && seen.shape[axis] === -1),
    )
  );
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

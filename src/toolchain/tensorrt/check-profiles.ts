import { nearest, type Problem } from "../../diagnostics/index.ts";
import type { EngineProfile, GraphTensor, ShapeRange } from "./request.ts";

const ENDS = ["min", "opt", "max"] as const;
type End = (typeof ENDS)[number];

/**
 * Profiles against the graph's inputs, before any process starts. trtexec fails on contradictions at opt only, and sets
 * inputs without a range to 1; the Python driver does the same checks on what TensorRT parsed.
 */
export function profileProblems(
  profiles: readonly EngineProfile[],
  inputs: readonly GraphTensor[],
): readonly Problem[] {
  const dynamic = inputs.filter(input => input.dims.some(dim => typeof dim === "string" || dim < 0));
  if (profiles.length === 0 && dynamic.length > 0) {
    return [
      missing(
        "profiles",
        `no optimization profile is given, and ${dynamic.map(i => i.name).join(", ")} have dynamic sizes`,
        "give at least one profile",
      ),
    ];
  }
  return profiles.flatMap((profile, index) => {
    const at = `profile ${index} (${profile.name})`;
    return [
      ...Object.keys(profile.shapes).flatMap(name =>
        inputs.some(i => i.name === name) ? [] : [unknownInput(name, inputs, at)],
      ),
      ...dynamic
        .filter(({ name }) => profile.shapes[name] === undefined)
        .map(({ name }) => missing(at, `${at} has no range for ${name}`, `add ${name} to ${at}`)),
      ...inputs.flatMap(input => rangeProblems(input, profile.shapes[input.name], at)),
      ...ENDS.flatMap(end => sumProblems(profile, inputs, end, at)),
    ];
  });
}

function unknownInput(name: string, inputs: readonly GraphTensor[], at: string): Problem {
  const names = inputs.map(input => input.name);
  const guess = nearest(name, names);
  return {
    code: "TRT001",
    what: `${at} names the input ${name}, which the graph does not have`,
    at,
    why: "TensorRT ignores a range for an unknown name without a word, and the input meant keeps no range",
    fix: `${guess === undefined ? "" : `write ${guess}; `}the graph's inputs are ${names.join(", ") || "none"}`,
  };
}

function missing(at: string, what: string, fix: string): Problem {
  return {
    code: "TRT002",
    what,
    at,
    why: "TensorRT plans kernels and memory for ranges of sizes, which a profile states",
    fix,
  };
}

function rangeProblems({ name, dims }: GraphTensor, range: ShapeRange | undefined, at: string): readonly Problem[] {
  if (range === undefined) return [];
  const misfit = (what: string, fix: string): Problem => ({
    code: "TRT003",
    what,
    at: `${at}, ${name}`,
    why: "a profile states the sizes an input may have, lowest, usual and highest",
    fix,
  });
  const lengths = ENDS.map(end => range[end].length);
  if (lengths.some(length => length !== dims.length)) {
    return [
      misfit(
        `${name} has ${dims.length} dimensions, the range has ${lengths.join(", ")}`,
        `give ${dims.length} sizes at min, opt and max`,
      ),
    ];
  }
  return dims.flatMap((dim, axis) => {
    const [min = 0, opt = 0, max = 0] = ENDS.map(end => range[end][axis]);
    const whole = [min, opt, max].every(size => Number.isSafeInteger(size) && size >= 0);
    if (!whole || min > opt || opt > max)
      return [misfit(`${name} axis ${axis} has min ${min}, opt ${opt}, max ${max}`, "make 0 ≤ min ≤ opt ≤ max")];
    const fixed = typeof dim === "number" && dim >= 0;
    if (fixed && (min !== dim || max !== dim))
      return [
        misfit(
          `${name} axis ${axis} is fixed at ${dim} in the graph, the range is ${min}…${opt}…${max}`,
          `give ${dim} three times`,
        ),
      ];
    return [];
  });
}

/** One name is one size; "past + seq" is the sum of its parts. */
function sumProblems(
  { shapes }: EngineProfile,
  inputs: readonly GraphTensor[],
  end: End,
  at: string,
): readonly Problem[] {
  const uses = inputs.flatMap(({ name, dims }) =>
    dims.flatMap((dim, axis) => {
      const size = shapes[name]?.[end][axis];
      return typeof dim === "string" && size !== undefined ? [{ place: `${name} axis ${axis}`, dim, size }] : [];
    }),
  );
  const first = new Map<string, { readonly place: string; readonly size: number }>();
  for (const { place, dim, size } of uses) if (!first.has(dim)) first.set(dim, { place, size });
  return uses.flatMap(({ place, dim, size }) => {
    const known = first.get(dim);
    if (known !== undefined && known.size !== size) {
      return [
        contradiction(
          at,
          end,
          `${dim} is ${known.size} in ${known.place} and ${size} in ${place}`,
          `give both the same ${end}`,
        ),
      ];
    }
    const total = evaluate(dim, name => first.get(name)?.size);
    if (total === undefined || total === size) return [];
    const parts = namesOf(dim).map(name => `${name} = ${first.get(name)?.size}`);
    return [
      contradiction(
        at,
        end,
        `${place} is ${size}, but ${dim} is ${total} (${parts.join(", ")})`,
        `give ${place} ${end} ${total}`,
      ),
    ];
  });
}

function contradiction(at: string, end: End, what: string, fix: string): Problem {
  return {
    code: "TRT004",
    what: `${at} contradicts itself at ${end}: ${what}`,
    at: `${at}, ${end}`,
    why: "the graph combines these inputs, so their sizes must agree; TensorRT fails on this at opt and keeps silent at min and max",
    fix,
  };
}

function namesOf(dim: string): readonly string[] {
  return dim.match(/[A-Za-z_][\w.]*/g) ?? [];
}

/** A sum of products such as "2*past + seq + 1"; undefined for a plain name, or when a part has no size. */
function evaluate(dim: string, sizeOf: (name: string) => number | undefined): number | undefined {
  if (/^[A-Za-z_][\w.]*$/.test(dim)) return undefined;
  let total = 0;
  for (const term of dim.split("+")) {
    let product = 1;
    for (const factor of term.split("*").map(part => part.trim())) {
      const size = /^\d{1,15}$/.test(factor) ? Number(factor) : sizeOf(factor);
      if (size === undefined) return undefined;
      product *= size;
    }
    total += product;
  }
  return total;
}

/**
 * A size in a graph: a number, or a sum of named sizes in canonical text, e.g. "past + seq" or "2*batch + 1".
 * Text rather than a tree: equal dims are equal strings, and the same text is ONNX's dim_param.
 */
export type Dim = number | string;

/** Sizes of a graph value, outermost first. */
export type DimShape = readonly Dim[];

/** Canonical form: coefficient of each product of names; "" holds the constant. */
type Terms = Map<string, number>;

function parse(dim: Dim): Terms {
  if (typeof dim === "number") return new Map([["", dim]]);
  const terms: Terms = new Map();
  for (const term of dim.split(" + ")) {
    const names = term.split("*");
    const coefficient = /^-?\d+$/.test(names[0]!) ? Number(names.shift()) : 1;
    addTerm(terms, names.sort().join("*"), coefficient);
  }
  return terms;
}

function addTerm(terms: Terms, names: string, coefficient: number): void {
  terms.set(names, (terms.get(names) ?? 0) + coefficient);
}

function print(terms: Terms): Dim {
  const parts = [...terms]
    .filter(([, c]) => c !== 0)
    .sort(([a], [b]) => (a === "" ? 1 : b === "" ? -1 : a < b ? -1 : 1));
  if (parts.length === 0) return 0;
  if (parts.length === 1 && parts[0]![0] === "") return parts[0]![1];
  return parts.map(([names, c]) => (names === "" ? String(c) : c === 1 ? names : `${c}*${names}`)).join(" + ");
}

export function addDims(a: Dim, b: Dim): Dim {
  const sum = parse(a);
  for (const [names, c] of parse(b)) addTerm(sum, names, c);
  return print(sum);
}

export function multiplyDims(a: Dim, b: Dim): Dim {
  const product: Terms = new Map();
  for (const [an, ac] of parse(a)) {
    for (const [bn, bc] of parse(b)) {
      const names = [...an.split("*"), ...bn.split("*")]
        .filter(n => n !== "")
        .sort()
        .join("*");
      addTerm(product, names, ac * bc);
    }
  }
  return print(product);
}

/** The number a dim has when every name in it is given one. Throws on a name without a value: profiles must name them all. */
export function evaluateDim(dim: Dim, sizes: Readonly<Record<string, number>>): number {
  let total = 0;
  for (const [names, coefficient] of parse(dim)) {
    let product = coefficient;
    for (const name of names === "" ? [] : names.split("*")) {
      const size = sizes[name];
      if (size === undefined) throw new Error(`dimension ${dim} uses ${name}, which has no size`);
      product *= size;
    }
    total += product;
  }
  return total;
}

/** The names a dim is made of. */
export function dimNames(dim: Dim): readonly string[] {
  return [...new Set([...parse(dim).keys()].flatMap(names => (names === "" ? [] : names.split("*"))))];
}

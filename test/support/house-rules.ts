import ts from "typescript";
import { placeOf, type Source, visit } from "./sources.ts";

/** Who may import whom, directly; what a layer's layers may import it may import too. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  diagnostics: [],
  tensor: ["diagnostics"],
  vision: ["diagnostics"],
  options: ["diagnostics"],
  toolchain: ["diagnostics"],
  formats: ["tensor", "vision"],
  graph: ["tensor"],
  layers: ["graph"],
  models: ["layers", "graph", "tensor", "vision"],
  runtime: ["toolchain", "formats", "tensor"],
  quantize: ["tensor", "graph", "runtime"],
  checkpoint: ["models", "quantize", "formats"],
  emit: ["graph", "formats"],
  rules: ["options", "models"],
  build: ["checkpoint", "emit", "rules", "quantize", "toolchain"],
  report: ["build"],
  cli: ["build", "report", "runtime", "options"],
};

export function reachable(layer: string): ReadonlySet<string> {
  const direct = MAY_IMPORT[layer] ?? [];
  return new Set([layer, ...direct, ...direct.flatMap(below => [...reachable(below)])]);
}

export function wrongLayers(sources: readonly Source[]): readonly string[] {
  return sources.flatMap(source => {
    if (!Object.hasOwn(MAY_IMPORT, source.layer))
      return [`${source.path}: src/${source.layer} is not a layer of DESIGN §3`];
    const allowed = reachable(source.layer);
    return source.imports
      .filter(({ file }) => file?.startsWith("src/") && !allowed.has(file.split("/")[1] ?? ""))
      .map(({ file }) => `${source.path} imports ${file}: ${source.layer} may import ${[...allowed].join(", ")}`);
  });
}

/** Import cycles among static imports, types included; each as `a -> b -> a`, once. */
export function cycles(sources: readonly Source[]): readonly string[] {
  const next = new Map(
    sources.map(s => [s.path, s.imports.filter(i => !i.dynamic).flatMap(i => (i.file === undefined ? [] : [i.file]))]),
  );
  const done = new Set<string>();
  const found: string[] = [];
  const walk = (path: string, trail: readonly string[]): void => {
    const seen = trail.indexOf(path);
    if (seen >= 0) found.push([...trail.slice(seen), path].join(" -> "));
    if (seen >= 0 || done.has(path)) return;
    for (const other of next.get(path) ?? []) walk(other, [...trail, path]);
    done.add(path);
  };
  for (const path of next.keys()) walk(path, []);
  return found;
}

/** Uses of what only one layer may use. */
export function misplaced(sources: readonly Source[]): readonly string[] {
  return sources.flatMap(source => {
    const found: string[] = [];
    const complain = (node: ts.Node, what: string): void => void found.push(`${placeOf(source, node)}: ${what}`);
    visit(source.tree, node => {
      if (node.kind === ts.SyntaxKind.AnyKeyword) complain(node, "the type any");
      if (!ts.isPropertyAccessExpression(node)) return;
      const text = `${node.expression.getText(source.tree)}.${node.name.text}`;
      if (text === "process.env" && source.layer !== "options") complain(node, "process.env outside src/options");
      if (/^(console\.|process\.std(out|err)$)/.test(text) && source.layer !== "cli")
        complain(node, `${text} outside src/cli`);
    });
    const spawns = source.imports.filter(
      i => /^(node:)?child_process$|^execa$/.test(i.specifier) && source.layer !== "toolchain",
    );
    return [...found, ...spawns.map(i => `${source.path}: imports ${i.specifier} outside src/toolchain`)];
  });
}

export const MAX_LINES = 400;

/** Files that a person has to read at once; generated ones are not. */
export function tooLong(sources: readonly Source[]): readonly string[] {
  return sources
    .filter(({ path }) => !path.endsWith(".generated.ts"))
    .map(({ path, text }) => ({ path, lines: text.split("\n").length - 1 }))
    .filter(({ lines }) => lines > MAX_LINES)
    .map(({ path, lines }) => `${path} has ${lines} lines; at most ${MAX_LINES}`);
}

import type { BuildPlan, EnginePlan } from "../build/plan.ts";
import type { EngineStatistics } from "../build/statistics.ts";
import { bars } from "./bars.ts";
import { figure } from "./draw.ts";
import { type Html, html } from "./html.ts";
import { rangeRows, ranges } from "./ranges.ts";
import type { BuildResult } from "./result.ts";
import { bytes, byteUnit, count, seconds, table } from "./text.ts";

/** Bars beyond this many are one: the rest of a long tail says nothing. */
const MAX_BARS = 14;
const MIN_PART_OF_GPU = 0.1;

export function memorySection({ memory: { ranks, average, peak }, gpu }: BuildPlan): Html {
  const parts = [...new Set(ranks.flatMap(rank => rank.items.map(item => item.what)))];
  const series = parts.map(part => ({
    name: words(part),
    values: ranks.map(({ items }) => items.find(item => item.what === part)?.bytes ?? 0),
  }));
  const rows = ranks.map(({ rank }) => `GPU ${rank}`);
  const size = (gpu?.memory_mib ?? 0) * 1024 ** 2;
  // Beside a much larger card the bars would be too short to tell anything.
  const limit = gpu !== null && peak > size * MIN_PART_OF_GPU ? { value: size, label: gpu.name } : undefined;
  const details = ranks.flatMap(({ rank, items }) =>
    items.map(({ what, bytes: size, formula }) => [`GPU ${rank}`, words(what), bytes(size), formula]),
  );
  return html`<h2>Memory</h2>
<p>An upper bound for the largest batch and sequence.${ranks.length > 1 ? ` On average ${bytes(average)} a GPU.` : ""}</p>
${figure(
  "Memory per GPU",
  series.map(({ name }) => name),
  width => bars({ rows, series, format: bytes, unitOf: byteUnit, limit }, width),
)}
<details><summary>how each number is made</summary>${table(["GPU", "part", "size", "formula"], details)}</details>`;
}

export function profileSection({ engines }: BuildPlan): Html | null {
  const groups = alike(engines, ({ io, profiles }) => [io, profiles]);
  if (groups.length === 0) return null;
  return html`<h2>Optimization profiles</h2>
<p>The sizes that an engine takes, from min to max; it is fastest at opt, the dot. Each step to the right is twice the size.</p>
${groups.map(([engine, names]) => profileFigure(engine, names))}`;
}

function profileFigure(engine: EnginePlan, names: string): Html {
  const rows = rangeRows(engine);
  const profiles = engine.profiles.map(({ name }) => name);
  const numbers = rows.flatMap(({ label, ranges: all }) =>
    all.flatMap((range, i) => (range === undefined ? [] : [[label, profiles[i] ?? "", ...range]])),
  );
  return html`${figure(`${names}: ${profiles.join(", ")}`, profiles, width => ranges(rows, profiles.length, width))}
<details><summary>as numbers</summary>${table(["input · size", "profile", "min", "opt", "max"], numbers)}</details>`;
}

export function graphSection({ engines }: BuildPlan, statistics: readonly EngineStatistics[]): Html | null {
  if (statistics.length === 0) return null;
  const facts = engines.map(({ name, graph, io }) => [
    ...[name, graph.opset, graph.nodes, graph.initializers],
    ...(["input", "output"] as const).map(kind => io.filter(value => value.kind === kind).length),
    graph.functions.join(", "),
  ]);
  return html`<h2>Graphs</h2>
${table(["engine", "opset", "nodes", "tensors", "inputs", "outputs", "functions"], facts)}
${alike(statistics, ({ ops }) => ops).map(([{ ops }, names]) => countFigure(`Nodes of ${names} by operator`, ops))}`;
}

function countFigure(title: string, counts: Readonly<Record<string, number>>): Html {
  const shown = withRest(Object.entries(counts).sort(([, a], [, b]) => b - a));
  const rows = shown.map(([name]) => name);
  const series = [{ name: "nodes", values: shown.map(([, n]) => n) }];
  return figure(title, [], width => bars({ rows, series, format: count }, width));
}

export function weightSection(statistics: readonly EngineStatistics[]): Html | null {
  const groups = alike(statistics, ({ weights }) => weights).filter(([{ weights }]) => weights.length > 0);
  return groups.length === 0
    ? null
    : html`<h2>Weights</h2>${groups.map(([engine, names]) => weightFigure(engine, names))}`;
}

function weightFigure({ weights }: EngineStatistics, names: string): Html {
  const dtypes = [...new Set(weights.map(({ dtype }) => dtype))];
  const sums = new Map<string, number>();
  for (const { group, bytes: size } of weights) sums.set(group, (sums.get(group) ?? 0) + size);
  const shown = withRest([...sums].sort(([, a], [, b]) => b - a)).map(([group]) => group);
  const rowOf = (group: string): string => (shown.includes(group) ? group : OTHERS);
  const series = dtypes.map(dtype => ({
    name: dtype,
    values: shown.map(row =>
      weights.reduce((sum, w) => (w.dtype === dtype && rowOf(w.group) === row ? sum + w.bytes : sum), 0),
    ),
  }));
  const rows = weights.map(({ group, dtype, tensors, bytes: size }) => [group, dtype, tensors, bytes(size)]);
  return html`${figure(`Weights of ${names} by module, ${dtypes.join(" and ")}`, dtypes, width => bars({ rows: shown, series, format: bytes, unitOf: byteUnit }, width))}
<details><summary>as numbers</summary>${table(["module", "dtype", "tensors", "size"], rows)}</details>`;
}

export function timeSection({ steps, seconds: total }: BuildResult): Html | null {
  if (steps.length === 0) return null;
  const rows = steps.map(({ id }) => id);
  const series = [{ name: "seconds", values: steps.map(step => step.seconds) }];
  return html`<h2>Time</h2>
${figure(`Steps of the build, ${seconds(total)} in all`, [], width => bars({ rows, series, format: seconds }, width))}`;
}

/** What was read back from built engines; nothing with ONNX Runtime, which builds none. */
export function tensorrtSection({ engines }: BuildResult): Html | null {
  if (engines.length === 0) return null;
  const rows = engines.map(
    ({ name, bytes: size, builder, tensorrt, sm, seconds: took, memory_bytes: memory, ...rest }) => [
      ...[name, `${builder} ${tensorrt ?? ""}`.trimEnd(), sm.join(", "), bytes(size), seconds(took)],
      ...(memory === null ? ["", ""] : [bytes(memory.weights), bytes(memory.activation)]),
      ...[rest.peak_host_mib, rest.predicted_host_mib].map(mib => (mib ? bytes(mib * 1024 ** 2) : "")),
    ],
  );
  const layered = engines.map(({ name, engine_layers, layers }) => ({
    name,
    fused: engine_layers !== null,
    layers: engine_layers ?? layers,
  }));
  return html`<h2>Engines</h2>
${table(["engine", "builder", "SM", "size", "time", "weights", "activations", "builder", "predicted"], rows)}
${alike(layered, ({ fused, layers }) => [fused, layers]).map(([{ fused, layers }, names]) =>
  layers === null ? null : countFigure(`Layers of ${names} ${fused ? "after fusion" : "as parsed"}`, layers),
)}`;
}

const OTHERS = "others";

function withRest(sorted: readonly (readonly [string, number])[]): readonly (readonly [string, number])[] {
  if (sorted.length <= MAX_BARS) return sorted;
  const rest = sorted.slice(MAX_BARS - 1).reduce((sum, [, n]) => sum + n, 0);
  return [...sorted.slice(0, MAX_BARS - 1), [OTHERS, rest]];
}

/** Tensor-parallel peers are alike: one figure for all, named `llm/rank0 … llm/rank7`. */
function alike<T extends { readonly name: string }>(
  all: readonly T[],
  key: (one: T) => unknown,
): (readonly [T, string])[] {
  const groups = new Map<string, T[]>();
  for (const one of all) {
    const id = JSON.stringify(key(one));
    groups.set(id, [...(groups.get(id) ?? []), one]);
  }
  return [...groups.values()].flatMap(([first, ...others]) => {
    if (first === undefined) return [];
    const last = others.at(-1)?.name;
    return [[first, last === undefined ? first.name : `${first.name} … ${last}`] as const];
  });
}

function words(key: string): string {
  return key.replaceAll("_", " ");
}

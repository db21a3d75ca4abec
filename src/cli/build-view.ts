import type { BuildPlan, EnginePlan } from "../build/plan.ts";
import type { EngineProfile } from "../formats/engine-config.ts";
import { showBytes } from "../rules/rule.ts";
import { quoteCommand } from "../toolchain/quote.ts";
import { builderMemory, processMemory, runMemory } from "./memory-view.ts";
import { type Cell, formatTable } from "./ui.ts";

/** The whole plan as tables: engines, profiles, memory, what was chosen for the user, steps. */
export function planText(plan: BuildPlan): string {
  return [
    `plan for ${plan.backend}: ${plan.checkpoint_dir}${plan.output_dir === "" ? "" : ` → ${plan.output_dir}`}`,
    section("chosen", adjustments(plan)),
    section("engines", engines(plan.engines)),
    section("plugins", pluginsOf(plan)),
    ...profilesOf(plan),
    ...trtllmProfilesOf(plan),
    section("memory per GPU", runMemory(plan)),
    section("memory of the process", processMemory(plan)),
    section("memory of the builders", builderMemory(plan)),
    section("steps", steps(plan)),
    section("commands", commands(plan)),
  ]
    .filter(text => text !== "")
    .join("\n\n");
}

export function section(title: string, body: string): string {
  return body === "" ? "" : `${title}\n${body.replaceAll(/^/gm, "  ")}`;
}

function adjustments({ adjustments: chosen }: BuildPlan): string {
  if (chosen.length === 0) return "";
  const rows = chosen.map(({ option, from, to, why }) => [option, String(from ?? "not given"), String(to), why]);
  return formatTable(["option", "from", "to", "why"], rows);
}

function engines(all: readonly EnginePlan[]): string {
  if (all.length === 0) return "";
  const rows = all.map(({ name, options, graph, io }): Cell[] => [
    name,
    options.computeDtype,
    graph.nodes,
    graph.initializers,
    io.filter(value => value.kind === "input").length,
    io.filter(value => value.kind === "output").length,
    showBytes(graph.onnx_bytes),
    showBytes(graph.weight_bytes),
  ]);
  return formatTable(["engine", "dtype", "nodes", "tensors", "inputs", "outputs", "graph", "weights"], rows);
}

/** Nodes that a plugin may take, and the library that takes them; without one their standard bodies run. */
function pluginsOf({ engines: all, libraries }: BuildPlan): string {
  const rows = all.flatMap(({ name, graph }) =>
    Object.entries(graph.plugins).map(([op, count]): Cell[] => {
      const library = libraries.find(({ ops }) => ops.some(known => known.startsWith(`${op}/`)));
      const from = library === undefined ? "its standard body" : `${library.file} (${library.sha256.slice(0, 12)})`;
      return [name, op, count, from];
    }),
  );
  return rows.length === 0 ? "" : formatTable(["engine", "operation", "nodes", "runs"], rows);
}

/** Engines with equal profiles (tensor-parallel peers) share a table. */
function profilesOf(plan: BuildPlan): string[] {
  const shown = new Map<string, { names: string[]; profile: EngineProfile }>();
  for (const { name, profiles } of plan.engines) {
    for (const profile of profiles) {
      const key = JSON.stringify(profile);
      const same = shown.get(key);
      if (same) same.names.push(name);
      else shown.set(key, { names: [name], profile });
    }
  }
  return [...shown.values()].map(({ names, profile }) =>
    section(`profile ${profile.name} of ${names.join(", ")}`, profileTable(profile)),
  );
}

/** With --strict_profiles, one table a rank and profile. */
function trtllmProfilesOf({ trtllm_profiles: ranks }: BuildPlan): string[] {
  return (ranks ?? []).flatMap(({ name, inputs }) => {
    const count = Math.max(...inputs.map(input => input.profiles.length));
    return Array.from({ length: count }, (_, i) => {
      const shapes = Object.fromEntries(
        inputs.flatMap(input => (input.profiles[i] ? [[input.name, input.profiles[i]]] : [])),
      );
      return section(`TensorRT-LLM v0.11's profile ${i} of ${name}`, profileTable({ shapes }));
    });
  });
}

/** What is started, to be pasted into a shell; the Python driver is given its request on standard input. */
function commands({ steps: all }: BuildPlan): string {
  return all
    .flatMap(({ argv, stdin }) =>
      argv === undefined ? [] : [`${quoteCommand(argv)}${stdin ? " < request.json" : ""}`],
    )
    .join("\n");
}

/** Inputs of one shape whose names differ in a number alone are one row: past_key_0…31. */
function profileTable({ shapes }: Pick<EngineProfile, "shapes">): string {
  const rows = new Map<string, { numbers: number[]; stem: string; cells: string[] }>();
  for (const [name, { min, opt, max }] of Object.entries(shapes)) {
    const [, stem = name, number] = /^(.*_)(\d+)$/.exec(name) ?? [];
    const cells = [min, opt, max].map(shape => `[${shape.join(", ")}]`);
    const key = number === undefined ? name : `${stem}* ${cells.join()}`;
    const row = rows.get(key) ?? { numbers: [], stem: number === undefined ? name : stem, cells };
    if (number !== undefined) row.numbers.push(Number(number));
    rows.set(key, row);
  }
  const text = [...rows.values()].map(({ numbers, stem, cells }) => [stem + range(numbers), ...cells]);
  return formatTable(["input", "min", "opt", "max"], text);
}

function range(numbers: readonly number[]): string {
  const first = numbers[0];
  if (first === undefined) return "";
  return numbers.length === 1 ? String(first) : `${first}…${numbers.at(-1)}`;
}

function steps({ steps: all }: BuildPlan): string {
  if (all.length === 0) return "";
  const rows = all.map(({ id, outputs, fingerprint }) => [id, outputs.join(", "), fingerprint.slice(0, 12)]);
  return formatTable(["step", "makes", "fingerprint"], rows);
}

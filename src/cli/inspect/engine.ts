import { join } from "node:path";
import type { Problem } from "../../diagnostics/index.ts";
import type { BuiltEngine, EngineIo, EngineManifest, EnginePart, EngineProfile } from "../../formats/engine-config.ts";
import { openEngine } from "../../formats/engine-dir.ts";
import { fileProblems, pluginProblems } from "../../formats/engine-stamp.ts";
import { readPlanHeader } from "../../toolchain/tensorrt/plan-header.ts";
import { shownFeatures } from "../features.ts";
import { formatAmount } from "../ui/progress.ts";
import { type Fit, type FitRequest, fitOf } from "./fit.ts";
import { sizeOf } from "./graphs.ts";
import type { Report, ReportTable } from "./report.ts";

export interface InspectEngineOptions {
  /** What a request would need; all undefined when none is asked about. */
  readonly request: FitRequest;
  /** Told what does not fit the stamp; the report is made all the same. */
  warn(problem: Problem): void;
}

export async function inspectEngine(path: string, options: InspectEngineOptions): Promise<Report> {
  const engine = await openEngine(path);
  const { manifest, llm, visual } = engine;
  for (const problem of await fileProblems(engine)) options.warn(problem);
  for (const problem of await headerProblems(path, manifest)) options.warn(problem);
  const fit = llm && fitOf(engine, llm, options.request);
  return {
    kind: "engine",
    facts: [
      ...stampFacts(manifest),
      ...(llm === undefined ? [] : limitFacts(llm.build_config)),
      ...(fit === undefined ? [] : fitFacts(fit)),
    ],
    tables: [
      await partTable(path, manifest.parts),
      layerTable(manifest.parts),
      ...(visual === undefined ? [] : [ioTable("Inputs and outputs of visual", visual.io, visual.profiles)]),
      ...(llm === undefined
        ? []
        : [ioTable("Inputs and outputs of llm (the cache of layer 0 stands for all)", llm.io, llm.profiles)]),
    ],
    data: { manifest, llm, visual, ...(fit && { fit: { ...fit, fits: fit.problems.length === 0 } }) },
    problems: [...(await pluginProblems(engine)), ...(fit?.problems ?? [])],
  };
}

function stampFacts({ model, target, backend, version, parts }: EngineManifest): Report["facts"] {
  const images = model.num_visual_features > 0 ? `, ${shownFeatures(model)} visual features an image` : "";
  return [
    ["model", `${model.architecture}, vocabulary ${model.vocab_size}${images}`],
    ["backend", backend],
    ...(target === null
      ? []
      : ([
          ["TensorRT", target.tensorrt],
          ["GPUs", target.sm.length === 0 ? "not told" : target.sm.map(sm => `SM ${sm}`).join(", ")],
          ["plugins", target.plugin_abi ?? "none"],
          ...(target.plugin_libraries ?? []).map(
            ({ file, sha256 }) => ["plugin library", `${file}, SHA-256 ${sha256}`] as const,
          ),
          ["inputs and outputs", ioSources(parts)],
        ] as const)),
    ["built by", `mmtrt ${version}`],
    ...parts.map(part => [`graph of ${part.name}`, `SHA-256 ${part.onnx_sha256}`] as const),
  ];
}

/** Where the builder read what the tables below say, in words; each source once, with its parts. */
const IO_SOURCES: ReadonlyMap<string | null, string> = new Map([
  ["engine", "read back from the engine"],
  ["engine_log", "found in the engine's layers, sizes from its ONNX graph"],
  ["network", "read from the network TensorRT parsed, not from the engine"],
  [null, "of the ONNX graph; the builder printed none, so the engine's own were not compared"],
]);

function ioSources(parts: readonly EnginePart[]): string {
  const built = parts.flatMap(({ name, built }) => (built ? [{ name, from: built.io_from }] : []));
  const sources = [...new Set(built.map(({ from }) => from))];
  const words = sources.map(from => ({
    names: built.filter(one => one.from === from).map(({ name }) => name),
    told: IO_SOURCES.get(from) ?? `from ${from}`,
  }));
  return words.map(({ names, told }) => (words.length === 1 ? told : `${names.join(", ")}: ${told}`)).join("; ");
}

/** Engines say themselves who built them; that is compared with the manifest. */
async function headerProblems(path: string, { parts, backend }: EngineManifest): Promise<readonly Problem[]> {
  const found = parts.map(async ({ engine, built }) => {
    if (engine === null) return [];
    const file = join(path, engine);
    const header = await readPlanHeader(file);
    if (header?.library === backend && (!built?.tensorrt || header.version === built.tensorrt)) return [];
    const seen = header === undefined ? "is not an engine" : `is an engine of ${header.library} ${header.version}`;
    return [
      {
        code: "BLD006" as const,
        what: `${file} ${seen}, the manifest says ${backend} ${built?.tensorrt ?? ""}`.trimEnd(),
        at: file,
        why: "an engine is read only by the library and the release that built it",
        fix: "build the engine directory again",
      },
    ];
  });
  return (await Promise.all(found)).flat();
}

async function partTable(path: string, parts: readonly EnginePart[]): Promise<ReportTable> {
  const rows = parts.map(async ({ name, onnx, weights, engine, built }) => {
    const sizes = await Promise.all([onnx, weights, engine].map(f => (f === null ? undefined : sizeOf(join(path, f)))));
    return [name, ...sizes.map(size => (size === undefined ? "" : formatAmount(size, "B"))), ...builtCells(built)];
  });
  const head = ["part", "graph", "weights", "engine", "builder", "seconds", "weights on GPU", "activations"];
  const wide = parts.some(({ built }) => built) ? head : head.slice(0, 4);
  return { title: "Parts", head: wide, rows: (await Promise.all(rows)).map(row => row.slice(0, wide.length)) };
}

function builtCells(built: BuiltEngine | null | undefined): readonly string[] {
  if (!built) return ["", "", "", ""];
  const { builder, seconds, memory_bytes: memory } = built;
  const bytes = [memory?.weights, memory?.activation].map(n => (n === undefined ? "" : formatAmount(n, "B")));
  return [builder, seconds.toFixed(1), ...bytes];
}

/** Layers of the network as parsed, and of the engine after fusion. */
function layerTable(parts: readonly EnginePart[]): ReportTable {
  const counted = (
    name: string,
    kind: string,
    layers: Readonly<Record<string, number>> | null | undefined,
  ): string[][] =>
    layers
      ? [
          [
            name,
            kind,
            Object.entries(layers)
              .map(([type, count]) => `${count} ${type}`)
              .join(", "),
          ],
        ]
      : [];
  return {
    title: "Layers",
    head: ["part", "of", "count and type"],
    rows: parts.flatMap(({ name, built }) => [
      ...counted(name, "the network", built?.layers),
      ...counted(name, "the engine", built?.engine_layers),
    ]),
  };
}

const LIMITS = [
  "max_batch_size",
  "max_input_len",
  "max_seq_len",
  "max_beam_width",
  "max_multimodal_len",
  "kv_cache_type",
] as const;

function limitFacts(build: Readonly<Record<string, unknown>>): Report["facts"] {
  return LIMITS.map(key => [key, String(build[key])]);
}

function fitFacts({ request, limits, problems, needs }: Fit): Report["facts"] {
  const images = limits.rows > 0 ? `, images of a prompt ${limits.images}` : "";
  const most = `batch ${limits.batch_size}, prompt ${limits.input_len} tokens${images}, answer ${limits.max_new_tokens} tokens, prompt and answer ${limits.seq_len}, beams ${limits.num_beams}`;
  if (request === undefined || needs === undefined) return [["takes at most", most]];
  const { batch_size, input_len, images: asked, max_new_tokens, num_beams } = request;
  return [
    [
      "asked for",
      `batch ${batch_size}, prompt ${input_len} tokens with ${asked} images, answer ${max_new_tokens} tokens, beams ${num_beams}`,
    ],
    ["fits", problems.length === 0 ? "yes" : `no: ${problems.map(problem => problem.what).join("; ")}`],
    [
      "needs",
      `${formatAmount(needs.io_bytes, "B")} of inputs and outputs at its largest step, ${formatAmount(needs.cache_bytes, "B")} of them KV cache`,
    ],
    ["takes at most", `${most} (each with the others as asked for)`],
  ];
}

/** The cache has an input and an output a layer, all alike: the first one stands for them. */
const LATER_LAYER = /_(?!0(_out)?$)\d+(_out)?$/;

/** Each input and output with the sizes of every profile as `min … opt … max`. */
function ioTable(title: string, io: readonly EngineIo[], profiles: readonly EngineProfile[]): ReportTable {
  const range = (profile: EngineProfile, name: string): string => {
    const shape = profile.shapes[name];
    return shape === undefined ? "" : [shape.min, shape.opt, shape.max].map(sizes => sizes.join("×")).join(" … ");
  };
  const rows = io
    .filter(({ name }) => !LATER_LAYER.test(name))
    .map(({ name, kind, dtype, dims }) => [
      name,
      kind,
      dtype,
      `[${dims.join(", ")}]`,
      ...profiles.map(profile => range(profile, name)),
    ]);
  return { title, head: ["name", "kind", "dtype", "shape", ...profiles.map(p => p.name)], rows };
}

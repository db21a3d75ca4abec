import { availableParallelism } from "node:os";
import { environment } from "../../options/env.ts";
import { pluginsOptions } from "../../options/tables/plugins.ts";
import type { CompiledUnit } from "../../toolchain/nvcc/compile.ts";
import { type CommandContext, defineCommand } from "../command.ts";
import { buildPlugins } from "../plugins/build.ts";
import { type Headers, onnxruntimeHeaders, tensorrtHeaders } from "../plugins/headers.ts";
import { type PluginManifest, pluginSources, readManifests } from "../plugins/manifest.ts";
import { buildRunner } from "../plugins/runner.ts";
import { newPlugin } from "../plugins/scaffold.ts";
import { formatTable } from "../ui.ts";
import { VERSION } from "../version.ts";

type Context = CommandContext<typeof pluginsOptions>;

export const plugins = defineCommand({
  name: "plugins",
  options: pluginsOptions,
  async run(context) {
    const sources = context.options.plugin_sources ?? pluginSources();
    if (context.options.action === "build") await build(context, sources);
    else if (context.options.action === "list") await list(context, sources);
    else await scaffold(context, sources);
  },
});

interface Parts {
  readonly tensorrt: Headers | undefined;
  readonly onnxruntime: Headers | undefined;
}

async function build(context: Context, sources: string): Promise<void> {
  const { options, origin, ui } = context;
  const parts = {
    tensorrt: await tensorrtHeaders(options.tensorrt_root, origin("tensorrt_root")),
    onnxruntime: await onnxruntimeHeaders(options.onnxruntime_root, origin("onnxruntime_root")),
  };
  if (parts.tensorrt === undefined)
    ui.info(
      "no TensorRT headers: the library will hold no TensorRT plugins, and the runner will open no TensorRT engines. --tensorrt_root DIR says where they are",
    );
  if (parts.onnxruntime === undefined && options.only !== "library")
    ui.info(
      "no header of ONNX Runtime's C API: the runner will open no graphs. --onnxruntime_root DIR says where it is",
    );
  const library = options.only === "runner" ? undefined : await buildLibrary(context, sources, parts);
  const runner = options.only === "library" ? undefined : await buildProgram(context, sources, parts);
  ui.result([...(library?.lines ?? []), ...(runner?.lines ?? [])].join("\n"), { ...library?.data, ...runner?.data });
}

interface Reported {
  readonly lines: readonly string[];
  readonly data: Readonly<Record<string, unknown>>;
}

async function buildLibrary({ options, ui, signal }: Context, sources: string, parts: Parts): Promise<Reported> {
  const { tensorrt, onnxruntime } = parts;
  const sms = [...new Set(options.sm)].sort((a, b) => a - b);
  const built = await buildPlugins({
    sources,
    outputDir: options.output_dir,
    sms,
    tensorrt,
    onnxruntime,
    workers: options.workers ?? availableParallelism(),
    env: environment(),
    signal,
    onUnit: (_unit, done, total) => ui.progress({ id: "plugins", label: "compiling", done, total, unit: "files" }),
  });
  const { library, abi, nvcc, units } = built;
  const adapters = [
    tensorrt && `TensorRT ${tensorrt.version}`,
    onnxruntime && `ONNX Runtime (API ${onnxruntime.version})`,
  ];
  const names = adapters.filter(adapter => adapter !== undefined);
  return {
    lines: [
      `wrote ${library}: ${built.plugins.length} plugins for SM ${sms.join(", ")}, CUDA ${nvcc.version}`,
      `for ${names.length === 0 ? "callers of its C interface alone" : names.join(" and ")}; ${compiledText(units)}`,
      `ABI ${abi}`,
    ],
    data: {
      library,
      abi,
      sm: sms,
      cuda: nvcc.version,
      tensorrt: tensorrt?.version ?? null,
      onnxruntime: onnxruntime?.version ?? null,
      plugins: built.plugins.map(({ name, version }) => ({ name, version })),
      units: unitData(units),
    },
  };
}

async function buildProgram({ options, ui, signal }: Context, sources: string, parts: Parts): Promise<Reported> {
  const { file, compiler, engines, units } = await buildRunner({
    sources,
    outputDir: options.output_dir,
    ...parts,
    version: VERSION,
    workers: options.workers ?? availableParallelism(),
    env: environment(),
    signal,
    onUnit: (_unit, done, total) => ui.progress({ id: "runner", label: "compiling", done, total, unit: "files" }),
  });
  const kinds = engines.map(kind => (kind === "tensorrt" ? "TensorRT engines" : "graphs in ONNX Runtime"));
  const opens = kinds.length === 0 ? "it opens no engines without headers" : `for ${kinds.join(" and ")}`;
  return {
    lines: [`wrote ${file}: ${opens}; ${compiledText(units)}, ${compiler.version}`],
    data: { runner: { file, compiler: compiler.version, engines, units: unitData(units) } },
  };
}

function compiledText(units: readonly CompiledUnit[]): string {
  const cached = units.filter(unit => unit.cached).length;
  return `${units.length - cached} files compiled, ${cached} from earlier`;
}

function unitData(units: readonly CompiledUnit[]): readonly object[] {
  return units.map(({ name, cached, seconds }) => ({ name, cached, seconds }));
}

async function list({ ui }: Context, sources: string): Promise<void> {
  const all = await readManifests(sources);
  const rows = all.map(plugin => [plugin.name, plugin.version, dtypesOf(plugin), firstClause(plugin.about)]);
  ui.result(formatTable(["plugin", "version", "types", "what it does"], rows), {
    plugins: all.map(plugin => ({
      name: plugin.name,
      version: plugin.version,
      about: plugin.about,
      inputs: plugin.inputs.map(({ name, dtypes, optional }) => ({ name, dtypes, optional })),
      outputs: plugin.outputs.map(({ name, dtypes }) => ({ name, dtypes })),
      attributes: plugin.attributes,
      requires: plugin.requires.map(({ that, why }) => ({ that, why })),
    })),
  });
}

/** Up to the first full stop or colon: a table's cell. */
function firstClause(text: string): string {
  return text.split(/[.:](?=\s|$)/, 1)[0] ?? text;
}

function dtypesOf({ inputs }: PluginManifest): string {
  return [...new Set(inputs.flatMap(({ typeName, dtypes }) => (typeName === undefined ? [] : dtypes)))].join(", ");
}

async function scaffold({ options, origin, ui }: Context, sources: string): Promise<void> {
  const folder = await newPlugin(options.name, sources, origin("name"));
  ui.result(`made ${folder}: say in plugin.yaml what it takes and gives, then write kernel.cu`, { folder });
}

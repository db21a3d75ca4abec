import { mergeLora } from "../../checkpoint/lora/merge.ts";
import { fail } from "../../diagnostics/index.ts";
import { FilePool } from "../../formats/file.ts";
import { type Adapter, openAdapter } from "../../formats/lora/adapter.ts";
import { meaningOf } from "../../formats/lora/targets.ts";
import { loraCommandOptions } from "../../options/tables/lora.ts";
import { showBytes } from "../../rules/rule.ts";
import { byteLength } from "../../tensor/index.ts";
import { type CommandContext, defineCommand } from "../command.ts";
import { formatTable } from "../ui.ts";

type LoraContext = CommandContext<typeof loraCommandOptions>;

export const lora = defineCommand({
  name: "lora",
  options: loraCommandOptions,
  async run(context) {
    if (context.options.action === "merge") await merge(context);
    else await inspect(context);
  },
});

async function merge({ options, origin, ui, signal }: LoraContext): Promise<void> {
  const { first: modelDir, adapter: adapterDir, output_dir: outputDir } = options;
  if (adapterDir === undefined || outputDir === undefined) {
    fail({
      code: "LRA015",
      what: `lora merge has no ${adapterDir === undefined ? "ADAPTER_DIR" : "--output_dir"}`,
      at: adapterDir === undefined ? "ADAPTER_DIR" : origin("output_dir"),
      why: "a merge reads a model and an adapter, and writes a third directory",
      fix: "mmtrt lora merge MODEL_DIR ADAPTER_DIR --output_dir DIR",
    });
  }
  const result = await mergeLora({
    modelDir,
    adapterDir,
    outputDir,
    signal,
    onProgress: (done, total) => ui.progress({ id: "merge", label: "merging", done, total, unit: "B" }),
  });
  const replaced = result.replaced > 0 ? `, ${result.replaced} replaced whole` : "";
  ui.result(
    `merged: ${result.outputDir} (${result.added} weights with the adapter${replaced}; ${showBytes(result.bytes)} in ${result.files.length} file${result.files.length > 1 ? "s" : ""})`,
    { ...result },
  );
}

async function inspect({ options: { first: dir }, ui }: LoraContext): Promise<void> {
  const pool = new FilePool();
  try {
    const adapter = await openAdapter(pool, dir);
    const groups = groupsOf(adapter);
    const { r, alpha, rslora, bias } = adapter.config;
    const bytes = [...adapter.halves.values()]
      .flatMap(({ a, b }) => [a, b])
      .reduce((sum, t) => sum + (t ? byteLength(t.dtype, t.shape) : 0), 0);
    const rows = groups.map(({ module, layers, rank, scaling, shape }) => [module, layers, rank, scaling, shape]);
    const whole = adapter.whole.size > 0 ? `\nwhole tensors: ${[...adapter.whole.keys()].join(", ")}` : "";
    const head = `${adapter.name}: rank ${r}, alpha ${alpha}${rslora ? " (rslora)" : ""}, ${adapter.halves.size} modules, ${showBytes(bytes)}`;
    ui.result(`${head}\n${formatTable(["module", "layers", "rank", "scaling", "in → out"], rows)}${whole}`, {
      dir,
      r,
      lora_alpha: alpha,
      use_rslora: rslora,
      bias,
      bytes,
      modules: groups,
      whole: [...adapter.whole.keys()],
    });
  } finally {
    await pool.close();
  }
}

/** Layers that differ in their number alone are one line. */
function groupsOf(
  adapter: Adapter,
): readonly { module: string; layers: number; rank: number; scaling: number; shape: string }[] {
  const meaning = meaningOf(adapter.config, [...adapter.halves.keys()]);
  const groups = new Map<string, { module: string; layers: number; rank: number; scaling: number; shape: string }>();
  for (const [path, { a, b }] of adapter.halves) {
    const { rank = 0, scaling = 0 } = meaning.get(path) ?? {};
    const module = path.replace(/\.\d+\./, ".{l}.");
    const shape = `${a?.shape[1] ?? "?"} → ${b?.shape[0] ?? "?"}`;
    const key = `${module} ${rank} ${scaling} ${shape}`;
    const known = groups.get(key);
    groups.set(key, { module, layers: (known?.layers ?? 0) + 1, rank, scaling: Number(scaling.toPrecision(6)), shape });
  }
  return [...groups.values()];
}

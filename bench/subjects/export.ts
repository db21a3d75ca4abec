import { rmSync } from "node:fs";
import { join } from "node:path";
import { type Figure, round, shown } from "../support/figures.ts";
import { BIN, type Place } from "../support/place.ts";
import { type Command, type Usage, usageOf } from "../support/usage.ts";

/**
 * A directory of a 1.1 B LLaMA in float16 to a graph with its weights, each by its own command line. Minutes of processor time
 * for some, so once each and by seconds of the processor, which other work on the machine stretches least.
 */
export async function exportModel({ dir, python, wants }: Place): Promise<readonly Figure[]> {
  const model = join(dir, "llama-1.1b");
  const output = join(dir, "exported");
  const own = (): Usage => {
    const checkpoint = join(dir, "exported-checkpoint");
    rmSync(checkpoint, { recursive: true, force: true });
    const converted = usageOf({
      argv: [process.execPath, BIN, "convert", model, "--output_dir", checkpoint, "--quiet"],
    });
    const built = usageOf({
      argv: [process.execPath, BIN, "build", "--checkpoint_dir", checkpoint, "--output_dir", output, "--quiet"],
    });
    rmSync(checkpoint, { recursive: true, force: true });
    return {
      seconds: converted.seconds + built.seconds,
      cpu: converted.cpu + built.cpu,
      rss: Math.max(converted.rss, built.rss),
    };
  };
  const genai: Command["argv"] = [
    python("onnxruntime-genai"),
    ...["-m", "onnxruntime_genai.models.builder", "-i", model, "-o", output, "-p", "fp16", "-e", "cpu"],
    ...["-c", join(dir, "cache"), "--extra_options", "hf_token=false"],
  ];
  const optimum: Command["argv"] = [
    join(python("optimum-onnx"), "../optimum-cli"),
    ...["export", "onnx", "--model", model, "--task", "text-generation-with-past", "--no-post-process", output],
  ];
  const programs: readonly (readonly [string, () => Usage])[] = [
    ["onnxruntime-genai", () => usageOf({ argv: genai })],
    [
      "TensorRT-Edge-LLM",
      () => usageOf({ argv: [join(python("TensorRT-Edge-LLM"), "../tensorrt-edgellm-export"), model, output] }),
    ],
    [
      "torch.onnx dynamo",
      () =>
        usageOf({
          argv: [python("optimum-onnx"), join(import.meta.dirname, "../peers/dynamo_export.py"), model, output],
        }),
    ],
    ["optimum-onnx", () => usageOf({ argv: optimum })],
  ];
  const ours = own();
  const figures: Figure[] = [];
  for (const [name, run] of programs) {
    if (!wants(name)) continue;
    rmSync(output, { recursive: true, force: true });
    const theirs = run();
    const both = { mmtrt: ours, [name]: theirs };
    const ofEach = (value: (usage: Usage) => number): Record<string, number> =>
      Object.fromEntries(Object.entries(both).map(([program, usage]) => [program, round(value(usage))]));
    const cpu = ofEach(usage => usage.cpu);
    const ratio = { to: name, wanted: "", is: round(ours.cpu / theirs.cpu) };
    const rss = ofEach(usage => usage.rss / 1e6);
    figures.push(shown({ case: `1.1 B, seconds of processor, ${name}`, unit: "s", runs: 1, values: cpu, ratio, rss }));
  }
  rmSync(output, { recursive: true, force: true });
  return figures;
}

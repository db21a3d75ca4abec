import { MmtrtError } from "../../diagnostics/index.ts";

/** Where a directory keeps its weights: one file, or an index over several. */
export interface WeightLayout {
  readonly format: "safetensors" | "torch" | "gguf";
  /** Relative to the directory: the weights, or the index. */
  readonly file: string;
  readonly indexed: boolean;
}

/** In the order transformers looks. */
const STANDARD: readonly WeightLayout[] = [
  { format: "safetensors", file: "model.safetensors", indexed: false },
  { format: "safetensors", file: "model.safetensors.index.json", indexed: true },
  { format: "torch", file: "pytorch_model.bin", indexed: false },
  { format: "torch", file: "pytorch_model.bin.index.json", indexed: true },
];

/** Weights under another name; adapters, Meta's consolidated copies and what a trainer leaves are not the model. */
const OTHER: readonly { readonly format: WeightLayout["format"]; readonly pattern: RegExp }[] = [
  { format: "safetensors", pattern: /^(?!consolidated|adapter).*\.safetensors$/ },
  {
    format: "torch",
    pattern: /^(?!consolidated|adapter|training_args|optimizer|scheduler|rng_state).*\.(bin|pth|pt)$/,
  },
  { format: "gguf", pattern: /\.gguf$/ },
];

/** Errors: CKP019 when there are no weights or no way to tell which. */
export function findWeights(dir: string, names: readonly string[]): WeightLayout {
  const standard = STANDARD.find(layout => names.includes(layout.file));
  if (standard) return standard;
  for (const { format, pattern } of OTHER) {
    const files = names.filter(name => pattern.test(name));
    if (files.length === 1) return { format, file: files[0] as string, indexed: false };
    if (files.length > 1) throw noCheckpoint(dir, ambiguous(files));
  }
  throw noCheckpoint(
    dir,
    names.some(name => /^consolidated.*\.(pth|safetensors)$/.test(name)) ? META : "no weights are there",
  );
}

const META = "the weights are in Meta's or Mistral's own layout (consolidated…); for Meta's use --meta_ckpt_dir";

function ambiguous(files: readonly string[]): string {
  const shown = `${files.slice(0, 3).join(", ")}${files.length > 3 ? ", …" : ""}`;
  const sharded = files.some(file => /-\d{5}-of-\d{5}\./.test(file));
  return sharded
    ? `there are shards (${shown}) but no index.json`
    : `there are ${files.length} weight files (${shown})`;
}

export function noCheckpoint(path: string, reason: string): MmtrtError {
  return new MmtrtError([
    {
      code: "CKP019",
      what: `${path} is not a checkpoint: ${reason}`,
      at: path,
      why: "a checkpoint is config.json with model.safetensors, model.safetensors.index.json and its shards, or pytorch_model.bin; or one .gguf file",
      fix: "give the directory that holds these files, and download what is missing",
    },
  ]);
}

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { planBuild, planShapes } from "../../../src/build/plan-build.ts";
import { download } from "../../../src/checkpoint/hub/download.ts";
import { mergeLora } from "../../../src/checkpoint/lora/merge.ts";
import { openHf, openMeta } from "../../../src/checkpoint/open.ts";
import { OutputDir } from "../../../src/checkpoint/output-dir.ts";
import { planConversion } from "../../../src/checkpoint/plan.ts";
import { weightlessCheckpoint } from "../../../src/checkpoint/weightless.ts";
import { FilePool } from "../../../src/formats/file.ts";
import { openGgufFile } from "../../../src/formats/gguf.ts";
import { readJsonObject } from "../../../src/formats/json.ts";
import { openSafetensors, writeSafetensors } from "../../../src/formats/safetensors.ts";
import { openTorch } from "../../../src/formats/torch.ts";
import { withDefaults } from "../../../src/options/define.ts";
import { buildOptions } from "../../../src/options/tables/build.ts";
import type { HfCheckpoint, StoredTensor } from "../../../src/tensor/index.ts";
import { floats } from "../tensors.ts";
import { copied, directory, fixture, parity, type Reader, readWhole, withoutChecksums, written } from "./reader.ts";

const origin = (key: string): string => `--${key}`;
const ONE_RANK = {
  tpSize: 1,
  ppSize: 1,
  parallelEmbedding: false,
  embeddingShardingDim: 0,
  shareEmbedding: false,
} as const;
const REQUEST = {
  outputDir: "out",
  dtype: "auto",
  parallel: ONE_RANK,
  workers: 1,
  strict: false,
  hash: false,
  version: "0",
  origin,
} as const;

/** One config of every way to read one. */
const MODELS: readonly string[] = [
  ...[
    "llava_mqa",
    "llava_siglip",
    "llava_qwen2",
    "blip2_opt",
    "blip2t5_gated",
    "nougat_odd",
    "gpt2mm_clip",
    "t5_plain",
  ],
  ...["bart_post", "gpt2_usual", "opt_pre", "qwen2_mqa", "mistral_window", "rope_llama_longrope", "llama_tied_bias"],
  ...["idefics3_gqa", "internvl_qwen2", "llava_next_mistral", "onevision_qwen2", "paligemma_mqa", "gemma3_images"],
  ...[
    "qwen2_vl_odd",
    "qwen2_5_vl_odd",
    "qwen3_vl_odd",
    "gemma2_caps",
    "phi3_longrope",
    "internlm2_gqa",
    "smollm3_nope",
  ],
];

type Open = (pool: FilePool, path: string) => Promise<ReadonlyMap<string, StoredTensor>>;
const OPENERS: Readonly<Record<string, Open>> = {
  safetensors: async (pool, path) => (await openSafetensors(pool, path)).tensors,
  bin: openTorch,
  pt: openTorch,
  gguf: async (pool, path) => (await openGgufFile(pool, path)).tensors,
};

async function usingPool<T>(use: (pool: FilePool) => Promise<T>): Promise<T> {
  const pool = new FilePool();
  try {
    return await use(pool);
  } finally {
    await pool.close();
  }
}

function weightFile(name: string, form: Reader["form"] = "bytes"): Reader {
  const open = OPENERS[name.slice(name.lastIndexOf(".") + 1)] as Open;
  return {
    name: `${form === "bytes" ? "" : "header of "}${name}`,
    form,
    prepare: async dir => {
      const bytes = await readFile(fixture(join("formats", name)));
      await writeFile(join(dir, name), bytes.toString("latin1", 0, 2) === "PK" ? withoutChecksums(bytes) : bytes);
      return name;
    },
    read: dir =>
      usingPool(async pool => {
        const tensors = await open(pool, join(dir, name));
        await readWhole(tensors);
        return tensors;
      }),
    ...(name.endsWith(".safetensors") && { accept: asHeaderSays }),
  };
}

/** Somebody else's reading of the header: every tensor it names is there, of that shape and between those bytes. */
function asHeaderSays(bytes: Buffer, read: unknown): void {
  const tensors = read as ReadonlyMap<string, StoredTensor>;
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, start)) as Record<
    string,
    { shape: number[]; data_offsets: number[] }
  >;
  const names = Object.keys(header).filter(name => name !== "__metadata__");
  if (names.length !== tensors.size) throw new Error(`${tensors.size} tensors were read of ${names.length}`);
  let covered = 0;
  for (const name of names) {
    const { shape, data_offsets: offsets } = header[name] as (typeof header)[string];
    const range = tensors.get(name)?.range;
    const [begin = -1, end = -1] = offsets;
    if (range?.offset !== start + begin || range.length !== end - begin || end > bytes.length - start)
      throw new Error(`${name} lies at ${JSON.stringify(range)}; the header says ${JSON.stringify(offsets)}`);
    if (tensors.get(name)?.shape.join() !== shape.join())
      throw new Error(`${name} has another shape than the header says`);
    covered += range.length;
  }
  if (covered !== bytes.length - start)
    throw new Error(`${covered} of ${bytes.length - start} bytes belong to a tensor`);
}

async function planned(checkpoint: HfCheckpoint): Promise<void> {
  try {
    await planConversion(checkpoint, REQUEST);
  } finally {
    await checkpoint.close();
  }
}

const CONFIGS: readonly Reader[] = MODELS.flatMap((model): Reader[] => [
  {
    name: `config.json of ${model} beside its weights`,
    form: "json",
    prepare: directory(async () => parity(model), "config.json"),
    read: async dir => planned(await openHf(dir)),
  },
  {
    name: `config.json of ${model} alone`,
    form: "json",
    prepare: copied(join(parity(model), "config.json")),
    read: async dir => {
      const config = await readJsonObject(join(dir, "config.json"));
      const { checkpoint } = weightlessCheckpoint({
        config,
        name: "model",
        dtype: "auto",
        parallel: ONE_RANK,
        version: "0",
        origin,
      });
      await planShapes(checkpoint, withDefaults(buildOptions, { checkpoint_dir: dir, output_dir: "engine" }), {
        version: "0",
        origin,
        given: () => false,
      });
    },
  },
]);

/** A model in two files with an index. */
async function indexed(dir: string): Promise<string> {
  const half = (part: number): string => `model-0000${part + 1}-of-00002.safetensors`;
  const names = ["a.weight", "b.weight", "c.weight", "d.weight"];
  for (const part of [0, 1])
    await writeSafetensors(
      join(dir, half(part)),
      names.slice(2 * part, 2 * part + 2).map(name => floats(name, [3], [1, 2, 3])),
    );
  const weight_map = Object.fromEntries(names.map((name, i) => [name, half(Math.floor(i / 2))]));
  await writeFile(
    join(dir, "model.safetensors.index.json"),
    JSON.stringify({ metadata: { total_size: 48 }, weight_map }),
  );
  await writeFile(join(dir, "config.json"), '{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}');
  return "model.safetensors.index.json";
}

async function openedWhole(path: string): Promise<void> {
  const checkpoint = await openHf(path);
  try {
    await readWhole(checkpoint.tensors);
  } finally {
    await checkpoint.close();
  }
}

function adapter(name: string, form: Reader["form"], target: string): Reader {
  return {
    name,
    form,
    prepare: directory(async () => fixture("lora/llama_gqa/first"), target),
    read: dir => mergeLora({ modelDir: parity("llama_gqa"), adapterDir: dir, outputDir: join(dir, "..", "merged") }),
  };
}

const COMMIT = "19891989198919891989198919891989198919ab";

/** What another program, or a disk, left in the Hub's cache. */
function hubCache(target: "refs/main" | "config.json" | "model.safetensors.index.json"): Reader {
  const repo = "models--org--model";
  return {
    name: `${target} in the Hub's cache`,
    form: target === "refs/main" ? "text" : "json",
    prepare: async dir => {
      const snapshot = join(dir, repo, "snapshots", COMMIT);
      await mkdir(join(dir, repo, "refs"), { recursive: true });
      await mkdir(snapshot, { recursive: true });
      await writeFile(join(dir, repo, "refs/main"), COMMIT);
      await indexed(snapshot);
      return join(repo, target === "refs/main" ? target : join("snapshots", COMMIT, target));
    },
    read: async dir => {
      const settings = { endpoint: "http://127.0.0.1:9", token: undefined, cacheDir: dir, offline: true, stallMs: 100 };
      const name = { repo: "org/model", revision: undefined };
      await openedWhole((await download({ name, settings, signal: new AbortController().signal })).dir);
    },
  };
}

export const CHECKPOINT_READERS: readonly Reader[] = [
  weightFile("dtypes.safetensors"),
  weightFile("dtypes.safetensors", "safetensors"),
  ...[
    "dtypes.bin",
    "legacy.bin",
    "strided.bin",
    "strided-legacy.bin",
    "protocol4.bin",
    "nested.bin",
    "training.pt",
  ].map(name => weightFile(name)),
  {
    name: "archive of PyTorch with checksums",
    form: "bytes",
    prepare: copied(fixture("formats/parameters.bin")),
    read: dir => usingPool(async pool => openTorch(pool, join(dir, "parameters.bin"))),
  },
  weightFile("types.gguf"),
  {
    name: "GGUF with a vocabulary of SentencePiece",
    form: "bytes",
    prepare: copied(fixture("formats/spm.gguf")),
    read: dir => openedWhole(join(dir, "spm.gguf")),
  },
  {
    name: "GGUF of LLaMA 3.1",
    form: "bytes",
    prepare: copied(fixture("formats/llama31.gguf")),
    read: async dir => planned(await openHf(join(dir, "llama31.gguf"))),
  },
  { name: "index of shards", form: "json", prepare: indexed, read: openedWhole },
  ...CONFIGS,
  ...["awq_asym", "gptq_v2", "compressed_w8a8", "modelopt_fp8"].map(
    (model): Reader => ({
      name: `config.json of a quantized model (${model})`,
      form: "json",
      prepare: directory(async () => fixture(join("packed", model)), "config.json"),
      read: async dir => planned(await openHf(dir)),
    }),
  ),
  {
    name: "params.json of Meta's checkpoints",
    form: "json",
    prepare: directory(async () => fixture("formats/meta"), "params.json"),
    read: async dir => planned(await openMeta(dir)),
  },
  adapter("adapter_config.json", "json", "adapter_config.json"),
  adapter("adapter_model.safetensors", "safetensors", "adapter_model.safetensors"),
  ...(["mmtrt.json", "hf_config.json", "config.json", "visual/config.json"] as const).map(
    (target): Reader => ({
      name: `${target} of a converted checkpoint`,
      form: "json",
      prepare: directory(shared => shared.checkpoint(), target),
      read: dir =>
        planBuild(withDefaults(buildOptions, { checkpoint_dir: dir, output_dir: "engine" }), {
          version: "0",
          origin,
          given: () => false,
        }),
    }),
  ),
  {
    name: "rank0.safetensors of a converted checkpoint",
    form: "safetensors",
    prepare: directory(shared => shared.checkpoint(), "rank0.safetensors"),
    read: dir =>
      planBuild(withDefaults(buildOptions, { checkpoint_dir: dir, output_dir: "engine" }), {
        version: "0",
        origin,
        given: () => false,
      }),
  },
  {
    name: "state of an interrupted conversion",
    form: "json",
    prepare: async (dir, shared) => {
      await mkdir(join(dir, "out.partial"));
      await written(
        "out.partial/convert.json",
        '{"fingerprint": "a", "pid": 1989198, "host": "h", "finished": {"rank0.safetensors": []}}',
      )(dir, shared);
      return "out.partial/convert.json";
    },
    read: async dir => {
      const output = await OutputDir.open(join(dir, "out"), "a");
      if (output === "done") throw new Error("a state is no finished conversion");
      for (const found of [await output.finished("rank0.safetensors"), await output.finished("rank1.safetensors")])
        if (found !== undefined && !Array.isArray(found)) throw new Error("what was found in a file is no list");
    },
  },
  hubCache("refs/main"),
  hubCache("config.json"),
  hubCache("model.safetensors.index.json"),
];

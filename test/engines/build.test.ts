import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { openEngine } from "../../src/formats/engine-dir.ts";
import type { BuildOptions } from "../../src/options/tables/build.ts";
import { openSession, type Session } from "../../src/runtime/session.ts";
import type { FloatDtype } from "../../src/tensor/index.ts";
import { featuresOf, promptsOf } from "../support/describe-parity.ts";
import { headerOf, type Io, toldOf, weightBytes } from "../support/engine-files.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { type ReferenceTensor, readReference } from "../support/reference.ts";
import { ROOT } from "../support/sources.ts";
import { describeTensorRT } from "../support/tensorrt.ts";

/**
 * Every value of each dimension is built at least once: model geometry, dtype, cache, spelling of the graph, profiles.
 * One SM, because compiling for more costs time and shows nothing new.
 */
const CASES: readonly Case[] = [
  { model: "models/llava-shapes", dtype: "float16", build: {} },
  { model: "models/llava-shapes", dtype: "bfloat16", build: { kv_cache_type: "static" } },
  { model: "parity/llava_mqa", dtype: "bfloat16", build: {} },
  { model: "parity/llava_mqa", dtype: "float16", build: {} },
  { model: "parity/llava_deep", dtype: "float16", build: { kv_cache_type: "static" } },
  { model: "parity/llava_wide", dtype: "float16", build: { tensorrt_version: "10.13" } },
  { model: "parity/llava_full", dtype: "float16", build: { tensorrt_version: "10.14", max_beam_width: 3 } },
  { model: "parity/llama_gqa", dtype: "float32", build: {} },
];

interface Case {
  readonly model: string;
  readonly dtype: FloatDtype;
  readonly build: Partial<BuildOptions>;
}

const LIMITS = { max_batch_size: 3, max_input_len: 97, max_seq_len: 131 };
const SM = 86;

const work = new Workspace();
afterAll(() => work.clean());

/** Sizes as Hugging Face's config.json has them, read without our own spec. */
async function sizesOf(model: string) {
  const config = JSON.parse(await readFile(join(ROOT, "test/fixtures", model, "config.json"), "utf8"));
  const text = config.text_config ?? config;
  const vision = config.vision_config;
  return {
    layers: text.num_hidden_layers as number,
    kvHeads: text.num_key_value_heads as number,
    headDim: (text.head_dim ?? text.hidden_size / text.num_attention_heads) as number,
    hidden: text.hidden_size as number,
    vocab: text.vocab_size as number,
    image: vision?.image_size as number | undefined,
  };
}

/** The contract of docs/internals/graph-contract.md, written out again. */
async function contractOf({ model, dtype, build }: Case): Promise<Io[]> {
  const { layers, kvHeads, headDim, hidden, vocab, image } = await sizesOf(model);
  const isStatic = build.kv_cache_type === "static";
  const of = (kind: string, name: string, type: string, ...shape: number[]): Io => ({ name, kind, dtype: type, shape });
  const cache = (kind: string, name: string): Io =>
    of(kind, name, dtype, -1, kvHeads, isStatic ? LIMITS.max_seq_len : -1, headDim);
  const each = (...names: string[]): string[] =>
    Array.from({ length: layers }, (_, i) => names.map(name => name.replace("#", String(i)))).flat();
  return [
    of("input", "input_ids", "int32", -1, -1),
    of("input", "position_ids", "int32", -1, -1),
    of("input", "last_token_ids", "int32", -1),
    ...(isStatic ? [of("input", "cache_lengths", "int32", -1)] : [of("input", "attention_mask", "int32", -1, -1)]),
    ...(image === undefined
      ? []
      : [
          of("input", "prompt_embedding_table", dtype, -1, hidden),
          of("input", "tasks", "int32", -1, 1),
          of("input", "prompt_vocab_size", "int32", 1),
        ]),
    ...each(...(isStatic ? ["cache_key_#", "cache_value_#"] : ["past_key_#", "past_value_#"])).map(n =>
      cache("input", n),
    ),
    of("output", "logits", "float32", -1, vocab),
    ...each(...(isStatic ? ["cache_key_#_out", "cache_value_#_out"] : ["present_key_#", "present_value_#"])).map(n =>
      cache("output", n),
    ),
  ];
}

const byName = (io: readonly Io[]): readonly Io[] =>
  io.map(({ name, kind, dtype, shape }) => ({ name, kind, dtype, shape })).sort((a, b) => (a.name < b.name ? -1 : 1));

const shaOf = (file: string): string => createHash("sha256").update(readFileSync(file)).digest("hex");

/** The worst element's distance, as a part of the largest value of the reference. */
function relativeError(got: ArrayLike<number>, want: ArrayLike<number>): number {
  expect(got.length).toBe(want.length);
  const wanted = Array.from(want);
  const scale = Math.max(...wanted.map(Math.abs));
  return Math.max(...wanted.map((value, i) => Math.abs((got[i] as number) - value))) / scale;
}

type Reference = ReadonlyMap<string, ReferenceTensor>;

/** Logits after the reference's prompt, and what transformers computes there in float32 from weights of the same values. */
async function logitsOf(
  session: Session,
  reference: Reference,
  { model, dtype }: Case,
): Promise<[Float32Array, ArrayLike<number>]> {
  const { vocab } = await sizesOf(model);
  const { image_token_id } = session.engine.manifest.model;
  const ids = reference.get("input_ids");
  if (ids === undefined) {
    const rig = { session, reference, imageTokenId: image_token_id ?? undefined, vocabSize: vocab };
    const decoding = await session.prefill(promptsOf(rig, "b3"), await featuresOf(rig, "b3"));
    return [decoding.logits, reference.get(dtype === "float16" ? "b3.logits_float16" : "b3.logits")!.values];
  }
  const pixels = reference.get("pixel_values")!;
  const [, , height = 0, width = 0] = pixels.shape;
  const features = await session.encodeImages([{ height, width, data: pixels.values as Float32Array }]);
  let row = vocab;
  const prompt = [...ids.values].map(id => (id === image_token_id ? row++ : id));
  return [(await session.prefill([prompt], features)).logits, reference.get("logits")!.values];
}

describeTensorRT("engines of TensorRT-RTX", python => {
  const tensorrt = { backend: "tensorrt_rtx", python, compute_capabilities: [SM], workers: 2 } as const;

  it.each(CASES)("$model in $dtype with $build", async wanted => {
    const { model, dtype, build } = wanted;
    const checkpoint = await convertTo(work, join(ROOT, "test/fixtures", model), dtype);
    const dir = await buildTo(work, checkpoint, { ...LIMITS, ...tensorrt, ...build }, { env: { PATH: "/nowhere" } });
    const { manifest, llmParts, visualPart } = await openEngine(dir);
    expect(manifest.target).toMatchObject({ tensorrt: expect.stringMatching(/^1\.\d+\.\d+\.\d+$/), sm: [SM] });

    // The engine as the library told it, against the contract.
    const told = toldOf(dir, "llm/rank0");
    expect(told.io.from).toBe("engine");
    expect(byName(told.io.tensors)).toEqual(byName(await contractOf(wanted)));
    expect(told.sms).toEqual([SM]);
    expect(told.profiles.map(({ shapes }) => shapes.input_ids?.max)).toEqual([
      [LIMITS.max_batch_size, LIMITS.max_input_len],
      [LIMITS.max_batch_size * (build.max_beam_width ?? 1), 1],
    ]);
    expectLayers(told.layers, wanted, (await sizesOf(model)).layers);

    // Its size, against the file itself and the weights that must be in it.
    for (const part of [...llmParts, ...(visualPart ? [visualPart] : [])]) {
      const header = headerOf(part.engine!);
      expect(header).toEqual({ tag: "vtrt", size: header.length, length: part.built?.bytes });
      expect(header.length).toBeGreaterThan(await weightBytes(part.onnx));
    }
    expect(toldOf(dir, "llm/rank0").memory_bytes.weights / (await weightBytes(llmParts[0]!.onnx))).toBeGreaterThan(0.9);

    // One graph: the bytes that TensorRT read are those of an ONNX Runtime build, and give transformers' numbers there.
    for (const { onnx, onnx_sha256 } of llmParts) expect(shaOf(onnx)).toBe(onnx_sha256);
    if (dtype === "bfloat16") {
      await expect(openSession(dir, { threads: 1 })).rejects.toThrow(/RUN019.*bfloat16/s);
      return;
    }
    const plain = await openEngine(await buildTo(work, checkpoint, { ...LIMITS, ...build }));
    expect(plain.llmParts.map(part => shaOf(part.onnx))).toEqual(llmParts.map(part => shaOf(part.onnx)));
    const session = await openSession(dir, { threads: 1 });
    const reference = await readReference(join(ROOT, "test/fixtures", model, "reference.safetensors"));
    const [got, want] = await logitsOf(session, reference, wanted);
    await session.close();
    expect(relativeError(got, want)).toBeLessThanOrEqual(dtype === "float16" ? 2e-3 : 1e-5);
  });
});

/** TensorRT's own layers show which spelling it parsed. */
function expectLayers(layers: Readonly<Record<string, number>>, { build }: Case, count: number): void {
  const version = build.tensorrt_version;
  expect(layers.KV_CACHE_UPDATE ?? 0).toBe(build.kv_cache_type === "static" ? 2 * count : 0);
  expect(layers.ATTENTION_INPUT ?? 0).toBe(version === "10.13" ? 0 : count);
  expect(layers.ROTARY_EMBEDDING ?? 0).toBe(version === undefined ? 2 * count : 0);
}

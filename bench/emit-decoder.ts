// The decoder graph of a published model, without weights, for native-plugins/test/bench_decoder.py, which fills them with
// random numbers: `npx tsx bench/emit-decoder.ts PRESET FORM CACHE FILE.onnx [CAPACITY]`. FORM: float16, bfloat16, int8 (per
// channel) or int4_g128, both in float16; CACHE: continuous, static (of CAPACITY tokens) or paged (blocks of 64).
import { writeFileSync } from "node:fs";
import { publishedModels } from "../src/checkpoint/published.ts";
import { encodeOnnx, type WeightLocation } from "../src/emit/onnx.ts";
import { MODERN, MODERN_STATIC_CACHE } from "../src/graph/dialect.ts";
import type { Initializer } from "../src/graph/graph.ts";
import type { KvCacheOptions } from "../src/models/architecture.ts";
import { readModel } from "../src/models/registry.ts";
import { byteLength, type Dtype, type QuantSpec, type Shape, UNQUANTIZED } from "../src/tensor/index.ts";

const PLUGINS = ["GptAttention", "WeightOnlyMatmul", "RmsNorm", "LayerNorm", "PromptTuningEmbedding", "Gemm"];
const ALIGNMENT = 256;
const QUANTIZED: QuantSpec = { ...UNQUANTIZED, excludeModules: [] };
const FORMS: Readonly<Record<string, QuantSpec | null>> = {
  float16: null,
  bfloat16: null,
  int8: { ...QUANTIZED, quantAlgo: "W8A16" },
  int4_g128: { ...QUANTIZED, quantAlgo: "W4A16_AWQ", groupSize: 128 },
};

const [preset = "", form = "float16", cache = "static", file = "decoder.onnx", capacity = "1024"] =
  process.argv.slice(2);
const model = (await publishedModels()).find(({ name, aliases }) => [name, ...aliases].includes(preset));
if (model === undefined) throw new Error(`no published model is called ${preset}`);
const { architecture, spec } = readModel(model.config);
const dtype = form === "bfloat16" ? "bfloat16" : "float16";
const quantization = FORMS[form];
if (quantization === undefined) throw new Error(`${form} is none of ${Object.keys(FORMS).join(", ")}`);
const graph = architecture.languageGraph(spec, {
  weightDtype: dtype,
  computeDtype: dtype,
  tpSize: 1,
  ppSize: 1,
  rank: 0,
  kvCache: cacheOf(cache),
  dialect: cache === "static" ? MODERN_STATIC_CACHE : MODERN,
  promptTable: spec.vision !== undefined,
  plugins: PLUGINS,
  ...(quantization && { quantization }),
});
const tensors = placesOf(graph.initializers);
writeFileSync(file, encodeOnnx(graph, { location: "weights.bin", tensors, producerVersion: "bench" }));

function cacheOf(type: string): KvCacheOptions {
  if (type === "static") return { type, capacity: Number(capacity) };
  if (type === "paged") return { type, tokensPerBlock: 64 };
  if (type === "continuous") return { type };
  throw new Error(`${type} is no cache: static, paged or continuous`);
}

/** One behind the other. INT4 codes are stored as bytes of two. */
function placesOf(initializers: readonly Initializer[]): ReadonlyMap<string, WeightLocation> {
  const places = new Map<string, WeightLocation>();
  let end = 0;
  for (const { value, bytes } of initializers) {
    if (bytes !== undefined) continue;
    const shape = value.shape as Shape;
    const packed = value.dtype === "int4";
    const stored: Dtype = packed ? "int8" : value.dtype;
    const dims = packed ? [...shape.slice(0, -1), (shape.at(-1) as number) / 2] : shape;
    places.set(value.name, { dtype: stored, shape: dims, offset: end });
    end += Math.ceil(byteLength(stored, dims) / ALIGNMENT) * ALIGNMENT;
  }
  return places;
}

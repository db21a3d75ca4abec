import { stat } from "node:fs/promises";
import { join } from "node:path";
import { fail, MmtrtError, type Problem, throwIfAny } from "../diagnostics/index.ts";
import { DTYPES } from "../tensor/index.ts";
import { ruleProblem } from "../vision/index.ts";
import { isBuilt, isTarget } from "./built-form.ts";
import type { Backend, EngineManifest, EnginePart, LlmEngineConfig, VisualEngineConfig } from "./engine-config.ts";
import { isJsonObject, type Json, type JsonObject, readJsonObject } from "./json.ts";
import { isLoraConfig } from "./lora/engine.ts";

export const ENGINE_MANIFEST = "mmtrt.json";
export const LLM_CONFIG = "llm/config.json";
export const VISUAL_CONFIG = "visual/config.json";
/** In place of LLM_CONFIG for an encoder-decoder. */
export const DECODER_CONFIG = "decoder/config.json";
export const ENCODER_CONFIG = "encoder/config.json";
/** What the builders printed, one file an engine. */
export const LOGS_DIR = "logs";

/** An engine directory, opened: every JSON file read and checked, every file of every part there. */
export interface EngineDir {
  readonly dir: string;
  readonly manifest: EngineManifest;
  readonly llm?: LlmEngineConfig;
  readonly visual?: VisualEngineConfig;
  /** `tokenizer/`, undefined when the model came without tokenizer files. */
  readonly tokenizerDir?: string;
  /** Parts of the language model by rank, and the visual one; paths are absolute. */
  readonly llmParts: readonly EnginePart[];
  /** Of an encoder-decoder: `llm` and `llmParts` are the decoder's. By rank; empty for other models. */
  readonly encoder?: LlmEngineConfig;
  readonly encoderParts: readonly EnginePart[];
  readonly crossParts: readonly EnginePart[];
  readonly visualPart?: EnginePart;
}

const BACKENDS: readonly Backend[] = ["onnxruntime", "tensorrt", "tensorrt_rtx"];
/** The largest engine config, an 80-layer model with 6 profiles, has about 0.6 MB. */
const MAX_BYTES = 64 << 20;

/** Errors: BLD002 not an engine directory or incomplete, BLD003 a JSON file of another form. */
export async function openEngine(dir: string): Promise<EngineDir> {
  const manifest = readEngineManifest(await readPart(dir, ENGINE_MANIFEST), join(dir, ENGINE_MANIFEST));
  const partsCalled = (pattern: RegExp): EnginePart[] => manifest.parts.filter(({ name }) => pattern.test(name));
  const [llmParts, encoderParts] = [partsCalled(/^(llm|decoder)\/rank/), partsCalled(/^encoder\//)];
  const visualPart = manifest.parts.find(part => part.name === "visual");
  const problems: Problem[] = [];
  for (const part of manifest.parts) problems.push(...(await missingFiles(dir, part)));
  throwIfAny(problems);
  const configOf = async (parts: readonly EnginePart[]): Promise<LlmEngineConfig | undefined> => {
    const folder = parts[0]?.name.split("/")[0];
    return folder === undefined ? undefined : readConfig<LlmEngineConfig>(dir, `${folder}/config.json`, checkLlm);
  };
  const [llm, encoder] = [await configOf(llmParts), await configOf(encoderParts)];
  const visual = visualPart && (await readConfig<VisualEngineConfig>(dir, VISUAL_CONFIG, checkVisual));
  const tokenizer = join(dir, "tokenizer");
  const hasTokenizer = await isDirectory(tokenizer);
  return {
    dir,
    manifest,
    ...(llm && { llm }),
    ...(visual && { visual }),
    ...(hasTokenizer && { tokenizerDir: tokenizer }),
    llmParts: llmParts.map(part => absolute(dir, part)),
    ...(encoder && { encoder }),
    encoderParts: encoderParts.map(part => absolute(dir, part)),
    crossParts: partsCalled(/^decoder\/cross_/).map(part => absolute(dir, part)),
    ...(visualPart && { visualPart: absolute(dir, visualPart) }),
  };
}

/** `json` as a manifest. Errors: BLD002 when it is another kind of directory, BLD003 when its form is unknown. */
export function readEngineManifest(json: JsonObject, path: string): EngineManifest {
  if (json.kind !== "engine") fail(notAnEngine(path, `it describes a ${JSON.stringify(json.kind ?? null)}`));
  const wrong = collector();
  wrong.unless(json.format === 1, `format is ${JSON.stringify(json.format)}; this version reads 1`);
  wrong.unless(
    typeof json.version === "string" && typeof json.fingerprint === "string",
    "version or fingerprint is missing",
  );
  wrong.unless((BACKENDS as readonly unknown[]).includes(json.backend), `backend is ${JSON.stringify(json.backend)}`);
  wrong.unless(isModel(json.model), "model is incomplete");
  wrong.unless(Array.isArray(json.parts) && json.parts.length > 0 && json.parts.every(isPart), "parts is incomplete");
  wrong.unless(isTarget(json.target), "target is not {tensorrt, sm, plugin_abi}");
  wrong.unless(isJsonObject(json.options), "options is missing");
  wrong.throwAt(path);
  return json as unknown as EngineManifest;
}

async function readConfig<T>(
  dir: string,
  name: string,
  check: (json: JsonObject, wrong: Collector) => void,
): Promise<T> {
  const json = await readPart(dir, name);
  const wrong = collector();
  check(json, wrong);
  wrong.unless(Array.isArray(json.io) && json.io.every(isIo), "io is not a list of {name, kind, dtype, shape, dims}");
  wrong.unless(
    Array.isArray(json.profiles) && json.profiles.every(isProfile),
    "profiles is not a list of {name, sizes, shapes}",
  );
  wrong.throwAt(join(dir, name));
  return json as unknown as T;
}

function checkLlm(json: JsonObject, wrong: Collector): void {
  wrong.unless(isJsonObject(json.pretrained_config), "pretrained_config is missing");
  wrong.unless(isLoraConfig(json.lora), "lora is not a table of modules and adapters");
  const { pp_stages: stages, cross } = json;
  const isStage = (stage: Json): boolean => hasIo(stage) && isCount((stage as JsonObject).first_rank, 1);
  wrong.unless(stages === undefined || (Array.isArray(stages) && stages.every(isStage)), "pp_stages is incomplete");
  wrong.unless(cross === undefined || hasIo(cross), "cross is not {profiles, io}");
  const build = isJsonObject(json.build_config) ? json.build_config : {};
  for (const key of ["max_batch_size", "max_input_len", "max_seq_len", "max_beam_width", "max_multimodal_len"])
    wrong.unless(
      isCount(build[key], key === "max_multimodal_len" ? 0 : 1),
      `build_config.${key} is ${JSON.stringify(build[key])}`,
    );
}

function hasIo(value: Json): boolean {
  if (!isJsonObject(value)) return false;
  const { io, profiles } = value;
  return Array.isArray(io) && io.every(isIo) && Array.isArray(profiles) && profiles.every(isProfile);
}

function checkVisual(json: JsonObject, wrong: Collector): void {
  wrong.unless(isCount(json.num_visual_features, 1), "num_visual_features is missing");
  const shape = json.image_shape;
  wrong.unless(
    Array.isArray(shape) && shape.length === 3 && shape.every(n => isCount(n, 1)),
    "image_shape is not [channels, height, width]",
  );
  wrong.unless(isJsonObject(json.builder_config), "builder_config is missing");
}

async function readPart(dir: string, name: string): Promise<JsonObject> {
  try {
    return await readJsonObject(join(dir, name), { maxBytes: MAX_BYTES });
  } catch (error) {
    const missing = error instanceof MmtrtError && error.problems.every(p => ["CKP001", "CKP002"].includes(p.code));
    throw missing ? new MmtrtError([notAnEngine(join(dir, name), "the file is missing")], { cause: error }) : error;
  }
}

async function missingFiles(dir: string, part: EnginePart): Promise<Problem[]> {
  const files = [
    part.onnx,
    part.weights,
    ...(part.tables === undefined ? [] : [part.tables]),
    ...(part.engine === null ? [] : [part.engine]),
  ];
  const found = await Promise.all(files.map(file => isFile(join(dir, file))));
  return files
    .filter((_, i) => !found[i])
    .map(file => notAnEngine(join(dir, file), `${part.name} needs it and it is missing`));
}

function absolute(dir: string, part: EnginePart): EnginePart {
  const engine = part.engine === null ? null : join(dir, part.engine);
  const tables = part.tables === undefined ? {} : { tables: join(dir, part.tables) };
  return { ...part, onnx: join(dir, part.onnx), weights: join(dir, part.weights), ...tables, engine };
}

function isModel(value: Json | undefined): boolean {
  if (!isJsonObject(value)) return false;
  const { eos_token_ids: eos } = value;
  return (
    typeof value.architecture === "string" &&
    isCount(value.vocab_size, 1) &&
    isCount(value.num_visual_features, 0) &&
    (value.visual_tokens === undefined || ruleProblem(value.visual_tokens) === undefined) &&
    Array.isArray(eos) &&
    eos.every(id => isCount(id, 0)) &&
    ["image_token_id", "bos_token_id", "pad_token_id"].every(
      key => value[key] === null || Number.isSafeInteger(value[key]),
    ) &&
    isPrompt(value.prompt) &&
    (value.encoder_decoder === undefined || isEncoderDecoder(value.encoder_decoder))
  );
}

function isPrompt(value: Json | undefined): boolean {
  if (value === undefined) return true;
  if (!isJsonObject(value) || typeof value.template !== "string") return false;
  return (
    ["image_word", "picture"].every(key => ["string", "undefined"].includes(typeof value[key])) &&
    ["boolean", "undefined"].includes(typeof value.images_first)
  );
}

function isEncoderDecoder(value: Json): boolean {
  if (!isJsonObject(value)) return false;
  const isId = (id: Json | undefined): boolean => id === null || isCount(id, 0);
  const { has_text_encoder: text, decoder_start_token_id: start } = value;
  return (
    typeof text === "boolean" && isCount(start, 0) && isId(value.forced_bos_token_id) && isId(value.forced_eos_token_id)
  );
}

/** Paths stay inside the directory: a manifest comes with the directory, from wherever that came. */
function isPart(value: Json): boolean {
  if (!isJsonObject(value)) return false;
  const inside = (path: Json | undefined): boolean =>
    typeof path === "string" && /^(llm|visual|encoder|decoder)\/[\w.-]+$/.test(path);
  return (
    typeof value.name === "string" &&
    inside(value.onnx) &&
    inside(value.weights) &&
    (value.tables === undefined || inside(value.tables)) &&
    (value.engine === null || inside(value.engine)) &&
    typeof value.onnx_sha256 === "string" &&
    isBuilt(value.built)
  );
}

function isIo(value: Json): boolean {
  if (!isJsonObject(value)) return false;
  const { name, kind, dtype, shape, dims } = value;
  return (
    typeof name === "string" &&
    // Tables are asked by this name, and every object answers to "constructor".
    !(name in Object.prototype) &&
    (kind === "input" || kind === "output") &&
    typeof dtype === "string" &&
    Object.hasOwn(DTYPES, dtype) &&
    Array.isArray(shape) &&
    shape.every(size => isCount(size, -1)) &&
    Array.isArray(dims) &&
    dims.length === shape.length &&
    dims.every(isDim)
  );
}

/** A number, or a sum of products of names; the longest that a graph has are of some 20 characters. */
function isDim(dim: Json): boolean {
  return typeof dim === "string" ? dim.length <= 200 && /^[\w*+ -]+$/.test(dim) : isCount(dim, 0);
}

function isProfile(value: Json): boolean {
  if (!isJsonObject(value)) return false;
  const isShape = (shape: Json | undefined): boolean => Array.isArray(shape) && shape.every(size => isCount(size, 0));
  const isRange = (range: Json): boolean =>
    isJsonObject(range) && ["min", "opt", "max"].every(point => isShape(range[point]));
  return (
    typeof value.name === "string" &&
    isJsonObject(value.sizes) &&
    isJsonObject(value.shapes) &&
    Object.values(value.shapes).every(isRange)
  );
}

function isCount(value: Json | undefined, least: number): boolean {
  return Number.isSafeInteger(value) && (value as number) >= least;
}

interface Collector {
  unless(ok: boolean, reason: string): void;
  throwAt(path: string): void;
}

function collector(): Collector {
  const reasons: string[] = [];
  return {
    unless: (ok, reason) => {
      if (!ok) reasons.push(reason);
    },
    throwAt: path => throwIfAny(reasons.map(reason => unknownForm(path, reason))),
  };
}

function notAnEngine(path: string, reason: string): Problem {
  return {
    code: "BLD002",
    what: `${path}: ${reason}`,
    at: path,
    why: "an engine directory is written whole by mmtrt build; what is missing was moved, deleted or never built",
    fix: "give the directory that mmtrt build wrote, or build it again",
  };
}

function unknownForm(path: string, reason: string): Problem {
  return {
    code: "BLD003",
    what: `${path}: ${reason}`,
    at: path,
    why: "runs are checked against these numbers, so they are not guessed",
    fix: "build the engine directory again with this version of mmtrt",
  };
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    info => info.isFile(),
    () => false,
  );
}

async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    info => info.isDirectory(),
    () => false,
  );
}

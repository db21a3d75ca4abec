import { fail } from "../../diagnostics/index.ts";
import { PIL_RESAMPLING } from "./filters.ts";
import { CLIP_MEAN, CLIP_STD, IGNORED, KeyReader, type Triple } from "./key-reader.ts";
import { readPatches } from "./patches-config.ts";
import type { ImageProcessorConfig } from "./processor.ts";
import { readAnyresTiles, readAspectRatioTiles, readTiled } from "./tiles-config.ts";

export type { Backend, ImageProcessorConfig, PageFit } from "./processor.ts";

interface Family {
  readonly shortest: number | undefined;
  readonly size: number;
  readonly crop: number | undefined;
  readonly mean: Triple;
  readonly std: Triple;
  readonly resample: number;
  readonly squarePad: boolean;
}

const CLIP: Family = {
  shortest: 224,
  size: 224,
  crop: 224,
  mean: CLIP_MEAN,
  std: CLIP_STD,
  resample: 3,
  squarePad: false,
};

/** Class defaults, which a saved file may leave out; the class is spelled with Fast, Pil or FeatureExtractor at the end too. */
const FAMILIES: Readonly<Record<string, Family>> = {
  CLIP,
  Blip: { ...CLIP, shortest: undefined, size: 384, crop: undefined },
  Llava: { ...CLIP, squarePad: true },
  Gemma3: {
    ...CLIP,
    ...{ shortest: undefined, crop: undefined, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], resample: 2 },
  },
  Siglip: { ...CLIP, shortest: undefined, crop: undefined, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
};

/** Classes with readers of their own. */
const OTHERS = ["Nougat", "Idefics3", "SmolVLM", "GotOcr2", "LlavaNext", "LlavaOnevision", "Qwen2VL"];

/**
 * Reads `preprocessor_config.json` (or the `image_processor` object of a newer `processor_config.json`).
 * @throws MmtrtError RUN003 with every unknown or unusable key; RUN004 for a processor of another kind.
 */
export function readImageProcessor(json: Readonly<Record<string, unknown>>, file: string): ImageProcessorConfig {
  const reader = new KeyReader(json, file);
  const named = String(json.image_processor_type ?? json.feature_extractor_type ?? "");
  if (/^Nougat(ImageProcessor|FeatureExtractor)/.test(named)) return readNougat(reader, named);
  if (/^(Idefics3|SmolVLM)ImageProcessor/.test(named)) return readTiled(reader, named);
  if (/^GotOcr2ImageProcessor/.test(named)) return readAspectRatioTiles(reader, named);
  if (/^Llava(Next|Onevision)ImageProcessor/.test(named)) return readAnyresTiles(reader, named);
  if (/^Qwen2VLImageProcessor/.test(named)) return readPatches(reader, named);
  const type = String(json.image_processor_type ?? json.feature_extractor_type ?? "CLIPImageProcessor");
  const family = familyOf(type, file);
  if (family === FAMILIES.Gemma3) readPanAndScan(reader);
  const resize = reader.flag("do_resize", true);
  const size = readSize(reader, family);
  const resample = reader.index("resample", family.resample, PIL_RESAMPLING);
  const crop = reader.flag("do_center_crop", family.crop !== undefined);
  const cropSize = crop ? readCrop(reader, family) : reader.skip("crop_size");
  const rescale = reader.flag("do_rescale", true);
  const factor = reader.number("rescale_factor", 1 / 255);
  const normalize = reader.flag("do_normalize", true);
  const mean = reader.triple("image_mean", family.mean);
  const std = reader.triple("image_std", family.std);
  if (std.includes(0)) reader.problem("image_std", `is ${JSON.stringify(std)}; expected no zeros`);
  const pad = reader.flag("do_pad", false);
  if (pad && !family.squarePad)
    reader.problem("do_pad", `is true, which a ${type} does to fill up a batch; expected false`);
  reader.finish(IGNORED);
  return {
    ...(resize && { resize: size }),
    resample,
    ...(cropSize && { crop: cropSize }),
    ...(pad && {
      squarePad: [Math.trunc(mean[0] * 255), Math.trunc(mean[1] * 255), Math.trunc(mean[2] * 255)] as const,
    }),
    backend: type.endsWith("Fast") ? "torchvision" : "pillow",
    ...(rescale && { rescale: factor }),
    ...(normalize && { normalize: { mean, std } }),
  };
}

/** Gemma 3's processor may cut crops out of long images, each an image more; how long, says nothing where it does not. */
function readPanAndScan(reader: KeyReader): void {
  for (const key of ["min_crop_size", "max_num_crops", "min_ratio_to_activate"]) reader.skip(`pan_and_scan_${key}`);
  if (reader.flag("do_pan_and_scan", false))
    reader.problem("do_pan_and_scan", "is true, which adds crops of long images to the prompt; expected false");
}

const IMAGENET_MEAN: Triple = [0.485, 0.456, 0.406];
const IMAGENET_STD: Triple = [0.229, 0.224, 0.225];

/** Nougat's processor: the page is cut out, resized, shrunk until it fits and padded; only some of that can be turned off. */
function readNougat(reader: KeyReader, type: string): ImageProcessorConfig {
  const value = (reader.take("size") ?? { height: 896, width: 672 }) as Sizes;
  const size = Array.isArray(value) && value.length === 2 ? { height: value[0], width: value[1] } : value;
  const page = {
    ...rectangle(reader, "size", size as Sizes),
    cropMargin: reader.flag("do_crop_margin", true),
    resize: reader.flag("do_resize", true),
  };
  if (!reader.flag("do_thumbnail", true)) reader.problem("do_thumbnail", "is false; expected true");
  if (!reader.flag("do_pad", true)) reader.problem("do_pad", "is false; expected true");
  if (reader.flag("do_align_long_axis", false)) reader.problem("do_align_long_axis", "is true; expected false");
  const resample = reader.index("resample", 2, PIL_RESAMPLING);
  const rescale = reader.flag("do_rescale", true) && reader.number("rescale_factor", 1 / 255);
  const normalize = reader.flag("do_normalize", true);
  const mean = reader.triple("image_mean", IMAGENET_MEAN);
  const std = reader.triple("image_std", IMAGENET_STD);
  reader.finish([...IGNORED, "rescale_factor"]);
  return {
    resample,
    page,
    backend: type.endsWith("Fast") ? "torchvision" : "pillow",
    ...(rescale !== false && { rescale }),
    ...(normalize && { normalize: { mean, std } }),
  };
}

function familyOf(type: string, file: string): Family {
  const name = type.replace(/(ImageProcessor|FeatureExtractor)(Fast|Pil)?$/, "");
  const family = Object.hasOwn(FAMILIES, name) ? FAMILIES[name] : undefined;
  if (family !== undefined) return family;
  return fail({
    code: "RUN004",
    what: `image_processor_type ${JSON.stringify(type)} is not supported; expected ${[
      ...Object.keys(FAMILIES),
      ...OTHERS,
    ]
      .map(n => `${n}ImageProcessor`)
      .join(", ")}`,
    at: `${file}: image_processor_type`,
    why: "each processor resizes, crops and normalizes in its own way, and other pixels give another answer",
    fix: "give preprocessed pixels with --pixel_values FILE.safetensors",
  });
}

type Size = { readonly shortest: number } | { readonly height: number; readonly width: number };

/** int, {shortest_edge} or {height, width}; an int is the shortest edge or a square as the class (or default_to_square) says. */
function readSize(reader: KeyReader, family: Family): Size {
  const square = reader.flag("default_to_square", family.shortest === undefined);
  const value = reader.take("size");
  if (value === undefined || value === null)
    return square ? { height: family.size, width: family.size } : { shortest: family.size };
  if (typeof value === "number") {
    const edge = reader.edge("size", value);
    return square ? { height: edge, width: edge } : { shortest: edge };
  }
  const keys = sizeKeys(value);
  if (keys === "shortest_edge") return { shortest: reader.edge("size.shortest_edge", (value as Sizes).shortest_edge) };
  if (keys === "height,width") return rectangle(reader, "size", value as Sizes);
  reader.problem("size", `is ${JSON.stringify(value)}; expected a number, {"shortest_edge"} or {"height", "width"}`);
  return { shortest: family.size };
}

function readCrop(reader: KeyReader, family: Family): { height: number; width: number } {
  const value = reader.take("crop_size") ?? family.crop ?? 224;
  if (typeof value === "number") {
    const edge = reader.edge("crop_size", value);
    return { height: edge, width: edge };
  }
  if (sizeKeys(value) === "height,width") return rectangle(reader, "crop_size", value as Sizes);
  reader.problem("crop_size", `is ${JSON.stringify(value)}; expected a number or {"height", "width"}`);
  return { height: 1, width: 1 };
}

type Sizes = Readonly<Record<"shortest_edge" | "height" | "width", unknown>>;

/** The keys that are set, sorted: newer files write the others as null. */
function sizeKeys(value: unknown): string {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return "";
  return Object.entries(value)
    .filter(([, size]) => size !== null)
    .map(([key]) => key)
    .sort()
    .join();
}

function rectangle(reader: KeyReader, key: string, value: Sizes): { height: number; width: number } {
  return { height: reader.edge(`${key}.height`, value.height), width: reader.edge(`${key}.width`, value.width) };
}

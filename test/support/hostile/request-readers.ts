import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import { loadRanges, rangeSources } from "../../../src/checkpoint/act-ranges.ts";
import { readJsonObject } from "../../../src/formats/json.ts";
import { readModel } from "../../../src/models/registry.ts";
import { readCalibrationSet } from "../../../src/quantize/calibration-data.ts";
import { readAccuracyFile } from "../../../src/runtime/accuracy.ts";
import { readGenerationConfig } from "../../../src/runtime/generation-config.ts";
import { loadImage, openImageProcessor, readPixelValues } from "../../../src/runtime/image/load.ts";
import { readReference } from "../../../src/runtime/reference.ts";
import { readInputIds } from "../../../src/runtime/request.ts";
import { readRequestFile } from "../../../src/runtime/request-file.ts";
import { findChatTemplate, renderChat } from "../../../src/runtime/text/chat.ts";
import { openTokenizer } from "../../../src/runtime/text/tokenizer.ts";
import type { Form } from "./edits.ts";
import { copied, fixture, parity, type Reader, written } from "./reader.ts";

const SHAPES = fixture("models/llava-shapes");
const RANGES = fixture("quantize/llava-shapes.safetensors");

const PICTURES: readonly string[] = [
  ...["rgb-61x43.png", "palette-alpha.png", "grey16.png", "progressive.jpg", "cmyk.jpg", "exif-turned.jpg"],
  ...["lossy.webp", "palette.gif", "rgb.tif"],
];

function picture(name: string): Reader {
  return {
    name,
    form: "bytes",
    prepare: copied(fixture(join("image", name)), join(SHAPES, "processor_config.json")),
    read: async dir => loadImage(join(dir, name), await openImageProcessor(dir)),
    accept: (_, read) => {
      const { height, width, data } = read as { height: number; width: number; data: Float32Array };
      if (data.length !== 3 * height * width) throw new Error(`${data.length} numbers for ${height} × ${width}`);
    },
  };
}

function tokenizer(kind: string, target: string, form: Form): Reader {
  const files = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"].filter(name => name !== target);
  return {
    name: `${form === "bytes" ? "bytes of " : ""}${target} of ${kind}`,
    form,
    prepare: async (dir, shared) => {
      const from = fixture(join("tokenizers", kind));
      for (const name of files) await copyFile(join(from, name), join(dir, name)).catch(() => undefined);
      return copied(join(from, target))(dir, shared);
    },
    read: async dir => {
      const words = await openTokenizer(dir);
      const template = await findChatTemplate(dir, words);
      if (template !== undefined)
        await renderChat(
          template,
          [{ role: "user", content: [{ type: "text", text: "q" }, { type: "image" }] }],
          words,
        );
      return words.decode(words.encode("Hello wörld <image> 123\n"));
    },
  };
}

function file(name: string, text: string, form: Form, use: (file: string) => Promise<unknown>): Reader {
  return { name, form, prepare: written(name, text), read: dir => use(join(dir, name)) };
}

const QUESTION = '{"image": "a.png", "question": "which city is this?", "expected": "singapore"}\n';
const REQUEST =
  '{"image": "a.png", "input_text": "which city is this?"}\n{"input_ids": [1, 29, 32000], "images": ["b.png"]}\n';
const TEXTS = '"a text"\n[1, 2, 3]\n{"text": "another"}\n{"image": "a.png", "question": "q", "expected": "e"}\n';

export const REQUEST_READERS: readonly Reader[] = [
  ...PICTURES.map(picture),
  ...["gpt2", "llama-legacy", "unigram", "llama3"].map(kind => tokenizer(kind, "tokenizer.json", "json")),
  tokenizer("gpt2", "tokenizer.json", "bytes"),
  tokenizer("llama-legacy", "tokenizer_config.json", "json"),
  tokenizer("llama-legacy", "chat_template.jinja", "text"),
  {
    name: "processor_config.json",
    form: "json",
    prepare: copied(join(SHAPES, "processor_config.json"), fixture("image/rgb-61x43.png")),
    read: async dir => loadImage(join(dir, "rgb-61x43.png"), await openImageProcessor(dir)),
  },
  {
    name: "preprocessor_config.json of BLIP-2",
    form: "json",
    prepare: copied(join(parity("blip2t5_plain"), "preprocessor_config.json"), fixture("image/rgb-61x43.png")),
    read: async dir => loadImage(join(dir, "rgb-61x43.png"), await openImageProcessor(dir)),
  },
  {
    name: "preprocessor_config.json of Nougat",
    form: "json",
    prepare: copied(fixture("models/nougat-shapes/preprocessor_config.json"), fixture("image/rgb-61x43.png")),
    read: async dir => loadImage(join(dir, "rgb-61x43.png"), await openImageProcessor(dir)),
  },
  {
    name: "generation_config.json",
    form: "json",
    prepare: copied(join(SHAPES, "generation_config.json")),
    read: readGenerationConfig,
  },
  file("ids.json", "[[1, 29, 32000], [7, 8, 9]]", "json", readInputIds),
  file("questions.jsonl", QUESTION.repeat(3), "text", readAccuracyFile),
  file("requests.jsonl", REQUEST, "text", readRequestFile),
  file("calibration.jsonl", TEXTS, "text", readCalibrationSet),
  ...(["bytes", "safetensors"] as const).flatMap((form): Reader[] => [
    {
      name: `reference, ${form}`,
      form,
      prepare: copied(join(parity("llava_mqa"), "reference.safetensors")),
      read: dir => readReference(join(dir, "reference.safetensors")),
    },
    {
      name: `pixel values, ${form}`,
      form,
      prepare: copied(fixture("image/pages.safetensors")),
      read: dir => readPixelValues(join(dir, "pages.safetensors")),
    },
  ]),
  {
    name: "ranges of activations",
    form: "safetensors",
    prepare: copied(RANGES),
    read: async dir => {
      const { architecture, spec } = readModel(await readJsonObject(join(SHAPES, "config.json")));
      await loadRanges(
        join(dir, "llava-shapes.safetensors"),
        rangeSources(spec.language, architecture.weights(spec)),
        true,
      );
    },
  },
];

import type { CodeInfo } from "../code-info.ts";

export const RUN = {
  RUN001: {
    title: "an image file cannot be decoded",
    about:
      "The file is missing, cut short, or not an image. PNG, JPEG, WebP, GIF, TIFF, AVIF and SVG-free bitmaps are read. Open it in a viewer to check it, or save it again.",
  },
  RUN002: {
    title: "an image is too large",
    about:
      "Pictures above 178,956,970 pixels (the size Pillow, and with it Hugging Face's processors, refuses) are not decoded: a small file can claim any size and fill the memory. Scale the picture down.",
  },
  RUN003: {
    title: "the image processor's configuration cannot be used",
    about:
      "A key of preprocessor_config.json or processor_config.json is missing, of the wrong type, out of range, or unknown. Preprocessing decides what the vision encoder sees, so nothing is guessed.",
  },
  RUN004: {
    title: "the image processor is of a kind that is not supported",
    about:
      "image_processor_type names a preprocessing that this version does not implement. Pixels can be prepared elsewhere and given as a safetensors file.",
  },
  RUN005: {
    title: "the model has no tokenizer that text could go through",
    about:
      "The engine directory's tokenizer/ lacks tokenizer.json. Give token ids with --input_ids, or save the tokenizer with transformers (which writes tokenizer.json for SentencePiece models too), convert and build again.",
  },
  RUN006: {
    title: "a tokenizer.json cannot be used",
    about:
      "The file is JSON, but describes a tokenizer with parts that this version does not know, or lacks parts. Save it again with a current transformers, or give token ids with --input_ids.",
  },
  RUN007: {
    title: "a chat template cannot be used",
    about:
      "The Jinja template that the model brings does not parse, or raised an error for a single user turn. Give the whole prompt in --input_text with --prompt_format raw.",
  },
} as const satisfies Record<string, CodeInfo>;

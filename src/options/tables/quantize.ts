import { defineOptions, type Values } from "../define.ts";
import { convertOptions } from "./convert.ts";

const { model_dir, revision, dtype, tp_size, pp_size, workers, quantize_lm_head, calib_dataset, calib_size } =
  convertOptions;

export const quantizeOptions = defineOptions({
  model_dir: { ...model_dir, aliases: [], about: "The float model: what mmtrt convert takes." },
  revision,
  output_dir: {
    type: "path",
    group: "Model",
    placeholder: "DIR",
    about: "Where the checkpoint of --format or --auto goes. Must be new or empty.",
  },
  checkpoint_dir: {
    type: "path",
    group: "Model",
    placeholder: "DIR",
    about: "A checkpoint that mmtrt convert made of this model: it is compared, and nothing is converted.",
  },
  dtype: { ...dtype, aliases: [] },
  tp_size: { ...tp_size, aliases: [] },
  pp_size: { ...pp_size, aliases: [] },
  workers: { ...workers, aliases: [] },

  format: {
    type: "string",
    enum: ["int4", "int4_g128", "int4_awq", "int4_g64", "int4_g32", "int4_g16", "int8_sq", "int8"],
    list: true,
    group: "Quantization",
    about:
      "One format to convert to, or several that --auto chooses from (without it: those that need no calibration). g is the inputs that share a scale.",
  },
  auto: {
    type: "number",
    minimum: 0,
    maximum: 1,
    group: "Quantization",
    placeholder: "ACCURACY",
    about: "Take the smallest format whose part of right answers to check_accuracy is at least this (0.99).",
  },
  max_loss: {
    type: "number",
    minimum: 0,
    maximum: 100,
    group: "Quantization",
    placeholder: "POINTS",
    about: "The same with a limit of points of 100 below the float model.",
  },
  quantize_lm_head,
  calib_dataset,
  calib_size,

  check_accuracy: {
    type: "path",
    group: "Report",
    placeholder: "FILE",
    about: "Questions with right answers, as mmtrt run --check_accuracy takes them; asked in ONNX Runtime.",
  },
  batch_size: {
    type: "integer",
    minimum: 1,
    maximum: 1024,
    default: 8,
    group: "Report",
    about: "Questions asked at once.",
  },
  max_new_tokens: {
    type: "integer",
    minimum: 1,
    maximum: 16_777_216,
    default: 30,
    group: "Report",
    about: "Longest answer in tokens.",
  },
  threads: {
    type: "integer",
    minimum: 0,
    maximum: 1024,
    default: 0,
    group: "Report",
    about: "Threads of ONNX Runtime; 0 lets it choose.",
  },
  report: {
    type: "path",
    group: "Report",
    placeholder: "FILE.html",
    about: "Write a page for the browser: formats side by side, and the error of every layer drawn as bars.",
  },
});

export type QuantizeOptions = Values<typeof quantizeOptions>;

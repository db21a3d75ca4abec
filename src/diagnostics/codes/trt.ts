import type { CodeInfo } from "../code-info.ts";
import { TRT_MESSAGES } from "./trt-messages.ts";

/** 001–099: what we find ourselves before, around and after a build. 101 and up: what TensorRT said, in trt-messages.ts. */
const TRT_OWN = {
  TRT001: {
    title: "a profile names an input that the graph does not have",
    about:
      "TensorRT ignores a range for an unknown name without a word, and the input that was meant keeps no range. Input names are those of the ONNX graph; `mmtrt inspect model.onnx` lists them.",
  },
  TRT002: {
    title: "a dynamic input has no range in an optimization profile",
    about:
      "TensorRT plans kernels and memory for ranges of sizes, so every input with a dynamic size needs min, opt and max in every profile. trtexec sets such an input to 1 in silence.",
  },
  TRT003: {
    title: "a profile's range does not fit its input",
    about:
      "A range has one size for each dimension of the input, min ≤ opt ≤ max, and equals the graph where the graph's size is fixed.",
  },
  TRT004: {
    title: "the sizes in a profile contradict each other",
    about:
      "Inputs that the graph combines must agree: equal names of dimensions are equal sizes, and attention_mask is past + seq long. TensorRT fails on this at opt, and at min and max it keeps silent until the engine runs.",
  },
  TRT005: {
    title: "the target cannot build what was asked for",
    about:
      "TensorRT and TensorRT-RTX differ in targets, element types and flags, and some builds need a GPU. The limits are checked before the build because TensorRT reports them late, unclearly, or only when the engine runs.",
  },
  TRT006: {
    title: "a flag after -- is not one trtexec takes here",
    about:
      "Words after -- go to trtexec as they are. Flags that mmtrt sets itself, that only matter for inference, or that the installed version does not have are refused, because trtexec would stop on them or ignore them.",
  },
  TRT007: {
    title: "the TensorRT build failed",
    about:
      "The tool ended without an engine, and none of its messages is one that mmtrt knows the cause of. The log has everything it printed; the command can be run by hand.",
  },
  TRT008: {
    title: "the build was cancelled",
    about: "The build was stopped from outside (Ctrl-C, or another part of the run failed). No engine was written.",
  },
  TRT009: {
    title: "the build took longer than its time limit",
    about:
      "How long a build takes depends on the graph, the optimization level and the machine. Raise the limit, or lower the optimization level. No engine was written.",
  },
  TRT010: {
    title: "a build request cannot be used",
    about:
      "The Python driver builds what one JSON object asks for. A key is missing, unknown, of the wrong type or out of range; native-plugins/driver/README.md lists them.",
  },
  TRT011: {
    title: "the builder was killed",
    about:
      "A signal ended the process. SIGKILL without a cancel is nearly always the kernel reclaiming memory: a build holds about 0.4 GB plus four times the weights. SIGABRT and SIGSEGV are crashes inside TensorRT or a plugin.",
  },
  TRT012: {
    title: "an option has no effect on this target",
    about: "The build gives the same engine with and without it. It is named so that nobody counts on it.",
  },
  TRT013: {
    title: "the engine cannot be written",
    about:
      "An engine is written aside, flushed to disk and renamed, so that its name holds a whole engine or nothing. Free space, or choose a directory that can be written to.",
  },
  TRT014: {
    title: "a plugin library cannot be loaded",
    about:
      "TensorRT opens the library with the dynamic loader and asks it for its creators. It is missing, built for another TensorRT, or needs a library that is not there; `ldd` shows which.",
  },
  TRT015: {
    title: "the builder left no usable engine file",
    about:
      "The tool reported success, but the file it was told to write is missing, empty, or does not start as a TensorRT engine does.",
  },
  TRT016: {
    title: "an input name cannot be written in trtexec's flags",
    about:
      "trtexec's shape lists use commas, colons, quotes and stars as signs of their own. Rename the input, or build with --builder python, which takes any name.",
  },
  TRT018: {
    title: "the built engine is not the planned one",
    about:
      "Inputs, outputs and profiles are read back from the engine and compared with the graph. A difference means that the builder did something else than it was asked for; such an engine is not kept.",
  },
} as const satisfies Record<string, CodeInfo>;

export const TRT = { ...TRT_OWN, ...TRT_MESSAGES } as const satisfies Record<string, CodeInfo>;

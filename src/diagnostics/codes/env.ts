import type { CodeInfo } from "../code-info.ts";

export const ENV = {
  ENV001: {
    exit: 3,
    title: "a native package is missing or does not load",
    about:
      "onnxruntime-node and sharp bring native code for each platform. npm can leave them out when their install script cannot reach the network; ONNXRUNTIME_NODE_INSTALL=skip lets the CPU build that is in the package do. `mmtrt doctor` shows what loads.",
  },
  ENV002: {
    exit: 3,
    title: "this version of Node.js is not supported",
    about:
      "mmtrt runs on Node.js 20.19, 22.12 and later. Older versions lack functions that it and its packages use, and fail later with an error that says less.",
  },
} as const satisfies Record<string, CodeInfo>;

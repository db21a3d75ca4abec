import type { CodeInfo } from "../code-info.ts";

export const GRF = {
  GRF001: {
    title: "the checkpoint's weights do not fit the graph",
    about:
      "A tensor the graph needs is missing from the checkpoint, or has another shape or dtype than config.json implies. The checkpoint was edited, damaged, or written by another version: convert the model again.",
  },
} as const satisfies Record<string, CodeInfo>;

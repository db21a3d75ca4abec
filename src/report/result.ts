import type { BuiltEngine } from "../formats/engine-config.ts";

/** What a finished build adds to its plan. */
export interface BuildResult {
  readonly steps: readonly { readonly id: string; readonly seconds: number }[];
  readonly engines: readonly (BuiltEngine & { readonly name: string })[];
  readonly written_bytes: number;
  readonly linked_bytes: number;
  readonly seconds: number;
}

import type { Problem } from "../diagnostics/index.ts";
import type { BuiltEngine } from "../formats/engine-config.ts";

/** What a build reports while it runs; `built` or `fresh` is the last. */
export type BuildEvent =
  | { readonly event: "fresh"; readonly dir: string; readonly reason: string }
  | { readonly event: "step"; readonly id: string; readonly state: "start" }
  | { readonly event: "step"; readonly id: string; readonly state: "done"; readonly seconds: number }
  | { readonly event: "note"; readonly message: string }
  | {
      readonly event: "progress";
      readonly id: string;
      readonly label: string;
      readonly done: number;
      readonly total: number;
      readonly unit: "B" | "%";
    }
  | {
      /** An engine's builder starts. */
      readonly event: "builder";
      readonly id: string;
      readonly builder: string;
      readonly version: string | null;
      readonly argv: readonly string[];
    }
  | { readonly event: "warning"; readonly problem: Problem }
  /** What TensorRT itself warns about or calls an error; everything it prints is in the log file. */
  | { readonly event: "log"; readonly id: string; readonly severity: string; readonly text: string }
  | {
      readonly event: "built";
      readonly dir: string;
      readonly files: readonly string[];
      /** Bytes of files written; hard links take none. */
      readonly written_bytes: number;
      readonly linked_bytes: number;
      readonly engines: readonly (BuiltEngine & { readonly name: string })[];
      readonly seconds: number;
    };

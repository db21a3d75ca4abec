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
      readonly unit: "B";
    }
  | {
      readonly event: "built";
      readonly dir: string;
      readonly files: readonly string[];
      /** Bytes of files written; hard links take none. */
      readonly written_bytes: number;
      readonly linked_bytes: number;
      readonly seconds: number;
    };

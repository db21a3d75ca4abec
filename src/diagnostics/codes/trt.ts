import type { CodeInfo } from "../code-info.ts";

export const TRT = {} as const satisfies Record<string, CodeInfo>;

import type { CodeInfo } from "../code-info.ts";

export const PLG = {} as const satisfies Record<string, CodeInfo>;

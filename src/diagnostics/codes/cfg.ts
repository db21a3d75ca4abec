import type { CodeInfo } from "../code-info.ts";

export const CFG = {} as const satisfies Record<string, CodeInfo>;

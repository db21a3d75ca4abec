import type { CodeInfo } from "../code-info.ts";

export const NUM = {} as const satisfies Record<string, CodeInfo>;

import type { CodeInfo } from "../code-info.ts";

export const GRF = {} as const satisfies Record<string, CodeInfo>;

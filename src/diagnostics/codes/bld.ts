import type { CodeInfo } from "../code-info.ts";

export const BLD = {} as const satisfies Record<string, CodeInfo>;

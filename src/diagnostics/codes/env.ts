import type { CodeInfo } from "../code-info.ts";

export const ENV = {} as const satisfies Record<string, CodeInfo>;

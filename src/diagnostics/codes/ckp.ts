import type { CodeInfo } from "../code-info.ts";

export const CKP = {} as const satisfies Record<string, CodeInfo>;

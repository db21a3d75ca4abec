import type { CodeInfo } from "../code-info.ts";

export const RUN = {} as const satisfies Record<string, CodeInfo>;

import { dirname, isAbsolute, join } from "node:path";

/** A relative path in a file is meant from where the file lies. */
export function beside(file: string, path: string): string {
  return isAbsolute(path) ? path : join(dirname(file), path);
}

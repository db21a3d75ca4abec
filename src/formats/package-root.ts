import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The installed package's folder: the nearest one above this file with package.json and configs/, in src/ as in dist/. */
export function packageRoot(): string {
  const start = dirname(fileURLToPath(import.meta.url));
  for (let dir = start; ; dir = dirname(dir)) {
    if (existsSync(join(dir, "package.json")) && existsSync(join(dir, "configs"))) return dir;
    if (dir === dirname(dir)) throw new Error(`no package.json with configs/ above ${start}`);
  }
}

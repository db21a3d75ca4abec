import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const DRIVER = join("native-plugins", "driver", "build_engine.py");

/** The Python driver in the installed package: in the nearest folder above this file that holds it, in src/ as in dist/. */
export function driverFile(): string {
  const start = dirname(fileURLToPath(import.meta.url));
  for (let dir = start; ; dir = dirname(dir)) {
    if (existsSync(join(dir, DRIVER))) return join(dir, DRIVER);
    if (dir === dirname(dir)) throw new Error(`no ${DRIVER} above ${start}`);
  }
}

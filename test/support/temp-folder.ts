import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";

const made: string[] = [];
// Registered as the test file is collected: inside a running test it would be too late.
afterAll(() => {
  for (const dir of made.splice(0)) rmSync(dir, { recursive: true, force: true });
});

/** A directory that is removed when the test file is done. */
export function tempFolder(name: string): string {
  const dir = realpathSync(mkdtempSync(join(tmpdir(), `mmtrt-${name}-`)));
  made.push(dir);
  return dir;
}

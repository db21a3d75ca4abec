import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** What src/ names its own scratch folders. */
const PROGRAM_FOLDERS = /^mmtrt-(verify|awq|quantize|demo)-/;

let temporary: string | undefined;

/** Before the first test: one folder for temporary files, which the test files inherit. What a killed one leaves goes with it. */
export function setup(): void {
  temporary = mkdtempSync(join(tmpdir(), "mmtrt-tests-"));
  process.env.TMPDIR = temporary;
}

/** After the last test: scratch folders of the program itself must be gone by then. */
export function teardown(): void {
  if (temporary === undefined) return;
  const left = readdirSync(temporary).filter(name => PROGRAM_FOLDERS.test(name));
  rmSync(temporary, { recursive: true, force: true });
  if (left.length > 0) throw new Error(`left in the folder for temporary files: ${left.join(", ")}`);
}

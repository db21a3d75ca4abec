import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A temporary directory for engines that are asked once. */
export async function scratchDir(): Promise<{ path(name: string): string; remove(): Promise<void> }> {
  const dir = await mkdtemp(join(tmpdir(), "mmtrt-quantize-"));
  return { path: name => join(dir, name), remove: () => rm(dir, { recursive: true, force: true }) };
}

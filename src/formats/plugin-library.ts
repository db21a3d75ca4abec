import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";

/** What `mmtrt plugins build` puts before the hash inside the library, so that nothing needs to load it to know it. */
const MARK = "mmtrt-plugin-abi:";
const HASH = /mmtrt-plugin-abi:([0-9a-f]{64})/;
const LONGEST = MARK.length + 64;

/** The ABI hash of a plugin library; undefined when it is not one of mmtrt's. Throws what reading throws. */
export async function readPluginAbi(library: string): Promise<string | undefined> {
  let rest = "";
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) {
    hash.update(chunk as Buffer);
    // latin1 keeps each byte one character; a mark may lie across two chunks.
    const text = rest + (chunk as Buffer).toString("latin1");
    const hash = HASH.exec(text)?.[1];
    if (hash !== undefined) return hash;
    rest = text.slice(-LONGEST);
  }
  return undefined;
}

/** Of the first library that is mmtrt's; null when none is. Throws what reading throws. */
export async function pluginAbiOf(libraries: readonly string[]): Promise<string | null> {
  for (const library of libraries) {
    const { abi } = await readPluginLibrary(library);
    if (abi !== null) return abi;
  }
  return null;
}

/** The libraries that a manifest's options name. */
export function pluginLibraries(options: Readonly<Record<string, unknown>>): readonly string[] {
  const { plugins } = options;
  return Array.isArray(plugins) ? plugins.filter(file => typeof file === "string") : [];
}

import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { delimiter, join } from "node:path";

/** How a short question to another program ended. */
export interface Probe {
  readonly state: "ok" | "failed" | "absent";
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProbeOptions {
  readonly signal?: AbortSignal;
  /** A tool that waits for a device or the network must not hold up the answer. */
  readonly timeoutMs?: number;
}

const TIMEOUT_MS = 20_000;
/** Version texts are short; this bounds what a wrong program can make us keep. */
const MAX_OUTPUT = 1 << 20;

/** Runs a program for its answer; never throws but for an aborted signal. */
export function probe(command: string, argv: readonly string[], options: ProbeOptions = {}): Promise<Probe> {
  const { signal, timeoutMs = TIMEOUT_MS } = options;
  return new Promise((resolve, reject) => {
    const settings = { timeout: timeoutMs, maxBuffer: MAX_OUTPUT, windowsHide: true, ...(signal && { signal }) };
    const child = execFile(command, argv, settings, (error, stdout, stderr) => {
      if (signal?.aborted) reject(signal.reason);
      else resolve({ state: error === null ? "ok" : error.code === "ENOENT" ? "absent" : "failed", stdout, stderr });
    });
    child.stdin?.end();
  });
}

/** The first executable of this name in a PATH variable. */
export async function which(name: string, path: string): Promise<string | undefined> {
  for (const folder of path.split(delimiter).filter(part => part !== "")) {
    const file = join(folder, name);
    const executable = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (executable) return file;
  }
  return undefined;
}

import { open, stat } from "node:fs/promises";

const CHUNK = 4 << 20;

/** Whether two files have the same bytes. Hard links of one file are not read. */
export async function sameBytes(first: string, second: string, signal: AbortSignal): Promise<boolean> {
  const [a, b] = await Promise.all([first, second].map(file => stat(file, { bigint: true })));
  if (a === undefined || b === undefined || a.size !== b.size) return false;
  if (a.dev === b.dev && a.ino === b.ino) return true;
  const handles = [await open(first, "r"), await open(second, "r")] as const;
  try {
    const buffers = [Buffer.allocUnsafe(CHUNK), Buffer.allocUnsafe(CHUNK)] as const;
    for (let at = 0; ; ) {
      signal.throwIfAborted();
      const [x, y] = await Promise.all(handles.map((handle, i) => handle.read(buffers[i] as Buffer, 0, CHUNK, at)));
      const length = Math.min(x?.bytesRead ?? 0, y?.bytesRead ?? 0);
      if (length === 0) return x?.bytesRead === y?.bytesRead;
      if (buffers[0].compare(buffers[1], 0, length, 0, length) !== 0) return false;
      at += length;
    }
  } finally {
    for (const handle of handles) await handle.close();
  }
}

import { readdirSync, readFileSync } from "node:fs";

/** Whether a process runs. One that has ended and that nobody has asked for yet (a zombie) does not. */
export function isAlive(pid: number): boolean {
  return statOf(pid)?.state !== undefined && statOf(pid)?.state !== "Z";
}

/** Processes that `pid` has started, by what /proc says. */
export function childrenOf(pid: number): readonly number[] {
  return readdirSync("/proc")
    .filter(name => /^\d+$/.test(name))
    .map(Number)
    .filter(child => statOf(child)?.parent === pid);
}

function statOf(pid: number): { readonly state: string; readonly parent: number } | undefined {
  try {
    // `pid (name) state ppid …`; the name may hold spaces and brackets.
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    const [state = "", parent] = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return { state, parent: Number(parent) };
  } catch {
    return undefined;
  }
}

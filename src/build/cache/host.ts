import { readFile, readlink } from "node:fs/promises";
import { hostname } from "node:os";

/** Who holds something in a directory that several machines may share. */
export interface Owner {
  /** Machine, its start, and the process namespace: processes of another container cannot be seen. */
  readonly host: string;
  readonly pid: number;
  /** When the process began, in the kernel's ticks: tells it from a later one with the same number. Empty where unknown. */
  readonly started: string;
}

let self: Promise<Owner> | undefined;

/** This process. */
export function thisOwner(): Promise<Owner> {
  self ??= describe();
  return self;
}

async function describe(): Promise<Owner> {
  const [boot, namespace, started] = await Promise.all([
    readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => ""),
    readlink("/proc/self/ns/pid").catch(() => ""),
    startOf(process.pid),
  ]);
  return {
    host: [hostname(), boot.trim(), namespace].filter(part => part !== "").join(" "),
    pid: process.pid,
    started,
  };
}

/** `gone` only when it is certain; processes of other machines are `unknown`. */
export async function stateOf(owner: Owner): Promise<"alive" | "gone" | "unknown"> {
  const own = await thisOwner();
  if (owner.host !== own.host) return "unknown";
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    // EPERM: it lives and belongs to somebody else.
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return "gone";
  }
  const started = await startOf(owner.pid);
  return owner.started === "" || started === "" || started === owner.started ? "alive" : "gone";
}

/** The text as an owner, or undefined: the file may be half written, or anybody's. */
export function readOwner(text: string): (Owner & { readonly token: string }) | undefined {
  try {
    const { host, pid, started, token } = JSON.parse(text) as Record<string, unknown>;
    const usable = typeof host === "string" && Number.isSafeInteger(pid) && (pid as number) > 0;
    if (!usable || typeof started !== "string" || typeof token !== "string") return undefined;
    return { host, pid: pid as number, started, token };
  } catch {
    return undefined;
  }
}

/** The 22nd field of /proc/PID/stat; the 2nd, the name, may hold spaces and brackets. */
async function startOf(pid: number): Promise<string> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return (
    text
      .slice(text.lastIndexOf(")") + 2)
      .split(" ")
      .at(19) ?? ""
  );
}

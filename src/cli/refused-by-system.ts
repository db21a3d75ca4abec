import { MmtrtError } from "../diagnostics/index.ts";

/** What disks, permissions and limits of the machine give; others (EBADF, EINVAL) are mistakes of a program. */
const REASONS: Readonly<Record<string, string>> = {
  ENOSPC: "the disk is full",
  EDQUOT: "the account's share of the disk is used up",
  EROFS: "the file system is read-only",
  EIO: "the disk failed",
  EACCES: "this account may not do that there",
  EPERM: "this account may not do that there",
  EMFILE: "the process has as many open files as it may",
  ENFILE: "the machine has as many open files as it may",
  EINTR: "the call was interrupted",
  ENOENT: "it was removed meanwhile, or the file system is read-only",
  ENOTDIR: "a part of the path is a file",
  EBUSY: "another program holds it",
};

/** An error of the operating system about a file as a problem; undefined for anything else, which is a bug. */
export function refusedBySystem(error: unknown): MmtrtError | undefined {
  if (!(error instanceof Error) || !("syscall" in error) || !("code" in error)) return undefined;
  const why = REASONS[String(error.code)];
  if (why === undefined || String(error.syscall).startsWith("spawn")) return undefined;
  const path = "path" in error && typeof error.path === "string" ? error.path : String(error.syscall);
  const problem = {
    code: "ENV025",
    what: `the operating system refused: ${error.message}`,
    at: path,
    why,
    fix: "free space, correct the permissions or give another directory, and run the same command again",
  } as const;
  return new MmtrtError([problem], { cause: error });
}

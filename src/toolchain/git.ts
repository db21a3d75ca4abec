import { probe } from "./probe.ts";

/** A file as it was at a revision of git, or in words why there is none. `file` is relative to `dir`. */
export async function fileAtRevision(
  dir: string,
  revision: string,
  file: string,
  signal: AbortSignal,
): Promise<{ readonly text: string } | string> {
  if (revision.startsWith("-")) return "a revision does not begin with a dash";
  const { state, stdout, stderr } = await probe("git", ["-C", dir, "show", `${revision}:./${file}`], { signal });
  if (state === "ok") return { text: stdout };
  return state === "absent" ? "git is not installed" : (stderr.trim().split("\n")[0] ?? "git failed");
}

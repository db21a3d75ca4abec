import { execFileSync } from "node:child_process";
import { join } from "node:path";

/** What one run of a program took, from its start to its end. */
export interface Usage {
  readonly seconds: number;
  /** Of the processor, all threads. */
  readonly cpu: number;
  /** Largest resident set in bytes. */
  readonly rss: number;
}

export interface Command {
  readonly argv: readonly [string, ...string[]];
  readonly cwd?: string;
  /** Exit code that is right; 0 where it is not given. */
  readonly status?: number;
}

/** @throws when the program ends with another exit code. */
export function usageOf({ argv, cwd, status = 0 }: Command): Usage {
  const line = execFileSync("python3", [join(import.meta.dirname, "usage.py"), ...argv], {
    encoding: "utf8",
    cwd,
    stdio: ["ignore", "pipe", status === 0 ? "inherit" : "ignore"],
  });
  const { status: ended, ...usage } = JSON.parse(line) as Usage & { readonly status: number };
  if (ended !== status) throw new Error(`${argv.join(" ")} ended with ${ended}, not ${status}`);
  return usage;
}

import { execa } from "execa";

/** util-linux's place for it; PATH may hold another program of that name, as BusyBox has. */
const SETPRIV = "/usr/bin/setpriv";
const ENDS_WITH_PARENT = [SETPRIV, "--pdeathsig", "KILL"];

let works: Promise<boolean> | undefined;

/**
 * Words before a command that let it end when this process does, also by SIGKILL, of which no process is told: the kernel
 * ends it then. Linux with util-linux 2.33 or newer; none elsewhere, where an abandoned tool runs to its end.
 */
export async function endsWithParent(): Promise<readonly string[]> {
  if (process.platform !== "linux") return [];
  works ??= execa(SETPRIV, [...ENDS_WITH_PARENT.slice(1), SETPRIV, "--version"], {
    reject: false,
    stdio: "ignore",
    env: {},
    extendEnv: false,
  }).then(({ exitCode }) => exitCode === 0);
  return (await works) ? ENDS_WITH_PARENT : [];
}

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";

const VARIABLE = "MMTRT_TEST_CHROMIUM";
const NAMES = ["chromium", "chromium-browser", "google-chrome"];
/** Headless, with a profile of its own and nothing that talks to anybody. */
const FLAGS = [
  ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"],
  // Everything the page's console says comes on stderr.
  ...["--enable-logging=stderr", "--v=0"],
];
const LIMIT_MS = 60_000;

/** The browser's program, or undefined. On CI, where it is to be installed, its absence is an error. */
export function findChromium(): string | undefined {
  const named = process.env[VARIABLE];
  const onPath = (process.env.PATH ?? "").split(delimiter).flatMap(dir => NAMES.map(name => join(dir, name)));
  const found = (named === undefined ? onPath : [named]).find(existsSync);
  if (found === undefined && process.env.CI !== undefined)
    throw new Error(`no Chromium on CI: install Debian's package chromium, or say in ${VARIABLE} where it is`);
  return found;
}

export interface Shown {
  /** The page as it is after loading. */
  readonly dom: string;
  /** Lines of the page's console, errors of the page among them. */
  readonly console: readonly string[];
}

export function openPage(chromium: string, file: string): Shown {
  const { stdout, stderr } = start(chromium, ["--dump-dom", `file://${file}`]);
  return { dom: stdout, console: stderr.split("\n").filter(line => /CONSOLE|Refused to|ERR_/.test(line)) };
}

export interface Shot {
  readonly width: number;
  readonly height: number;
  readonly dark?: boolean;
}

/** The page as a PNG file. */
export function screenshot(chromium: string, file: string, image: string, { width, height, dark }: Shot): void {
  const scheme = dark ? ["--blink-settings=preferredColorScheme=0"] : [];
  start(chromium, [`--window-size=${width},${height}`, ...scheme, `--screenshot=${image}`, `file://${file}`]);
}

function start(chromium: string, argv: readonly string[]): { readonly stdout: string; readonly stderr: string } {
  const profile = mkdtempSync(join(tmpdir(), "mmtrt-chromium-"));
  try {
    const options = { encoding: "utf8", timeout: LIMIT_MS, maxBuffer: 64 << 20 } as const;
    const ended = spawnSync(chromium, [...FLAGS, `--user-data-dir=${profile}`, ...argv], options);
    if (ended.status !== 0) throw new Error(`${chromium} ended with ${ended.status ?? ended.signal}: ${ended.stderr}`);
    return ended;
  } finally {
    rmSync(profile, { recursive: true, force: true });
  }
}

import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { ROOT } from "./sources.ts";

/** What the bundle is made of. */
const BUNDLED = ["bin", "scripts", "src", "package.json"];

/** What a finished `mmtrt` left; the rig's directory is written as `<dir>`. */
export interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running `mmtrt` that the test steps: waits for output, sends signals. */
export interface Running {
  readonly finished: Promise<Finished>;
  /** Resolves once stdout or stderr holds the text; rejects when the process ends without it. */
  says(text: string | RegExp): Promise<void>;
  kill(signal: NodeJS.Signals): void;
  /** Closes our end of stdout, as `| head` does. */
  closeStdout(): void;
}

export interface RigOptions {
  readonly env?: Readonly<Record<string, string>>;
}

/** A temporary directory to run `bin/mmtrt.js` in, with nothing of the caller's environment but PATH. */
export class Rig {
  readonly dir = realpathSync(mkdtempSync(join(tmpdir(), "mmtrt-e2e-")));

  file(name: string, text: string | Uint8Array): string {
    const path = join(this.dir, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    return path;
  }

  run(argv: readonly string[], options: RigOptions = {}): Promise<Finished> {
    return this.start(argv, options).finished;
  }

  start(argv: readonly string[], { env = {} }: RigOptions = {}): Running {
    const child = spawn(process.execPath, [program(), ...argv], {
      cwd: this.dir,
      // Port 9 is nobody's: no test asks the real Hub for a model.
      env: { PATH: process.env.PATH, HOME: this.dir, HF_ENDPOINT: "http://127.0.0.1:9", ...coverageOf(), ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const seen = { stdout: "", stderr: "" };
    const changed = new EventTarget();
    for (const name of ["stdout", "stderr"] as const) {
      child[name].setEncoding("utf8").on("data", (text: string) => {
        seen[name] += text;
        changed.dispatchEvent(new Event("change"));
      });
    }
    const shown = (text: string): string => text.replaceAll(this.dir, "<dir>");
    const finished = new Promise<Finished>((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (code, signal) =>
        resolve({ code, signal, stdout: shown(seen.stdout), stderr: shown(seen.stderr) }),
      );
    });
    const says = (text: string | RegExp): Promise<void> =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const all = seen.stdout + seen.stderr;
          if (typeof text === "string" ? all.includes(text) : text.test(all)) resolve();
        };
        changed.addEventListener("change", look);
        look();
        void finished.then(
          end => reject(new Error(`ended (${end.code}) without ${String(text)}:\n${end.stdout}${end.stderr}`)),
          reject,
        );
      });
    return { finished, says, kill: signal => void child.kill(signal), closeStdout: () => child.stdout.destroy() };
  }

  close(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** Where `scripts/coverage.mjs` has put one module a source, and wants what V8 says of the processes. */
const COVERAGE = process.env.MMTRT_TEST_COVERAGE;

function coverageOf(): Readonly<Record<string, string>> {
  return COVERAGE === undefined ? {} : { NODE_V8_COVERAGE: join(COVERAGE, "processes") };
}

let built = COVERAGE === undefined ? undefined : join(COVERAGE, "home", "bin", "mmtrt.js");

/**
 * `bin/mmtrt.js` beside a bundle of today's sources. The first test file that asks builds it, in the run's folder for
 * temporary files, where a developer's own build cannot pull dist/ from under it; the others find it there.
 */
export function program(): string {
  if (built !== undefined) return built;
  const home = join(tmpdir(), `mmtrt-dist-${sourcesStamp()}`);
  if (!existsSync(home)) build(home);
  built = join(home, "bin", "mmtrt.js");
  return built;
}

/** Another one after an edit: a watching vitest keeps its folder. */
function sourcesStamp(): string {
  const hash = createHash("sha256");
  for (const folder of BUNDLED.filter(name => !name.includes("."))) {
    for (const name of readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" }).sort())
      hash.update(`${folder}/${name} ${statSync(join(ROOT, folder, name)).mtimeMs}\n`);
  }
  return hash.digest("hex").slice(0, 16);
}

/** Built aside and then renamed: of two files that ask at once the later one finds the name taken, and uses what is there. */
function build(home: string): void {
  const aside = realpathSync(mkdtempSync(join(tmpdir(), "mmtrt-dist-")));
  for (const name of BUNDLED) cpSync(join(ROOT, name), join(aside, name), { recursive: true });
  for (const name of ["node_modules", "configs", "templates", "native-plugins", "test", "tsconfig.json"]) {
    symlinkSync(join(ROOT, name), join(aside, name));
  }
  execFileSync(process.execPath, [join(aside, "scripts", "build.mjs")], { stdio: ["ignore", "ignore", "inherit"] });
  try {
    renameSync(aside, home);
  } catch (error) {
    rmSync(aside, { recursive: true, force: true });
    if (!existsSync(home)) throw error;
  }
}

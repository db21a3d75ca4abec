import { overview } from "./help.ts";
import { VERSION } from "./version.ts";

/** Only help and version are answered here; everything else is loaded when it is needed, which keeps the start short. */
async function main(argv: readonly string[]): Promise<number> {
  const [first] = argv;
  if (first === "--version" || first === "-V" || first === "version") {
    process.stdout.write(`${VERSION}\n`);
    return 0;
  }
  if (first === "--help" || first === "-h" || first === "help" || first === undefined) {
    if (first === "help" && argv[1] !== undefined) return runCommand([argv[1], "--help"]);
    (first === undefined ? process.stderr : process.stdout).write(`${overview()}\n`);
    return first === undefined ? 2 : 0;
  }
  return runCommand(argv);
}

async function runCommand(argv: readonly string[]): Promise<number> {
  return (await import("./dispatch.ts")).dispatch(argv);
}

process.exitCode = await main(process.argv.slice(2));

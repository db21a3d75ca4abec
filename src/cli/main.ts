import { dispatch } from "./dispatch.ts";
import { overview } from "./help.ts";
import { VERSION } from "./version.ts";

async function main(argv: readonly string[]): Promise<number> {
  const [first, second] = argv;
  switch (first) {
    case "--version":
    case "-V":
    case "version":
      process.stdout.write(`${VERSION}\n`);
      return 0;
    case undefined:
      process.stderr.write(`${overview()}\n`);
      return 2;
    case "--help":
    case "-h":
    case "help":
      if (first === "help" && second !== undefined) return dispatch([second, "--help"], "page");
      process.stdout.write(`${overview()}\n`);
      return 0;
    default:
      return dispatch(argv);
  }
}

// Not awaited at the top level: in the bundle, commands import shared code from this file, which must be done by then.
void main(process.argv.slice(2)).then(code => {
  process.exitCode = code;
});

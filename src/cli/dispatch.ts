import { MmtrtError } from "../diagnostics/index.ts";
import { parseArgv } from "../options/argv.ts";
import { COMMANDS, type CommandInfo, type CommandName } from "../options/commands.ts";
import type { OptionTable } from "../options/define.ts";
import { environment } from "../options/env.ts";
import { nearest } from "../options/nearest.ts";
import { peekCommon, resolve } from "../options/resolve.ts";
import { commonOptions } from "../options/tables/common.ts";
import { Interruption } from "./interruption.ts";
import { missingPackage } from "./missing-package.ts";
import { refusedBySystem } from "./refused-by-system.ts";
import { isCommand, loadCommand, REGISTRY } from "./registry.ts";
import { createUi, type Terminal, type Ui } from "./ui.ts";
import { VERSION } from "./version.ts";

const EXIT_BUG = 70;

/** Runs `mmtrt <argv>` and gives the exit code (DESIGN §7); help is short, or the whole page. Never throws. */
export async function dispatch(argv: readonly string[], help: "short" | "page" = "short"): Promise<number> {
  const [name = "", ...rest] = argv;
  const interruption = new Interruption(() => ui);
  let ui = makeUi(argv, {}, interruption);
  let debug = argv.includes("--debug");
  process.once("uncaughtException", error => process.exit(report(error, ui, debug)));
  try {
    const command = find(name);
    const table = await COMMANDS[command].table();
    ui = makeUi(rest, table, interruption);
    debug = peekCommon(rest, environment(), table).debug;
    if (wantsHelp(rest, table)) await showHelp(command, table, help);
    else await run(command, table, rest, ui, interruption.signal);
    return interruption.exitCode ?? 0;
  } catch (error) {
    return interruption.exitCode ?? report(error, ui, debug);
  } finally {
    ui.close();
    interruption.close();
  }
}

function find(name: string): CommandName {
  if (isCommand(name)) return name;
  const guess = nearest(name, Object.keys(REGISTRY));
  throw new MmtrtError([
    {
      code: "CFG008",
      at: `${name} (command line)`,
      what: name.startsWith("-") ? `the command comes first, got ${name}` : `unknown command ${name}`,
      why: "mmtrt's first word says what to do",
      fix: guess === undefined ? `one of ${Object.keys(REGISTRY).join(", ")}` : `did you mean mmtrt ${guess}?`,
    },
  ]);
}

/** The command line is checked before the command's code is loaded: a mistyped flag is answered at once. */
async function run(
  name: CommandName,
  table: OptionTable,
  argv: readonly string[],
  ui: Ui,
  signal: AbortSignal,
): Promise<void> {
  const { passthrough }: CommandInfo = COMMANDS[name];
  const input = { argv, env: environment(), passthrough: passthrough !== undefined };
  const { notes, ...resolved } = await resolve(name, table, input);
  for (const note of notes) ui.info(`note: ${note}`);
  const command = await loadCommand(name);
  await command.run({ ...resolved, ui, signal });
}

function wantsHelp(argv: readonly string[], table: OptionTable): boolean {
  return parseArgv({ ...commonOptions, ...table }, argv).mentions.some(mention => mention.key === "help");
}

async function showHelp(name: CommandName, table: OptionTable, form: "short" | "page"): Promise<void> {
  const columns = process.stdout.columns;
  const text =
    form === "short"
      ? (await import("./command-help.ts")).commandHelp(name, table, columns)
      : (await import("./help-page.ts")).helpPage(name, table, columns);
  process.stdout.write(`${text}\n`);
}

function makeUi(argv: readonly string[], table: OptionTable, interruption: Interruption): Ui {
  const env = environment();
  const { json, quiet, color } = peekCommon(argv, env, table);
  const terminal: Terminal = {
    get stdout() {
      return interruption.watched(process.stdout);
    },
    get stderr() {
      return interruption.watched(process.stderr);
    },
    now: () => performance.now(),
  };
  return createUi({ json, quiet, color, noColor: (env.NO_COLOR ?? "") !== "" }, terminal);
}

/** Prints what went wrong and gives the exit code: expected problems without a stack, bugs with one. */
export function report(error: unknown, ui: Ui, debug: boolean): number {
  const known = error instanceof MmtrtError ? error : (missingPackage(error) ?? refusedBySystem(error));
  if (known === undefined) return reportBug(error, ui);
  for (const problem of known.problems) ui.error(problem);
  if (debug) ui.info(stackOf(known));
  return known.exitCode;
}

function reportBug(error: unknown, ui: Ui): number {
  const versions = { mmtrt: VERSION, node: process.version, platform: `${process.platform}-${process.arch}` };
  ui.bug(stackOf(error), versions);
  return EXIT_BUG;
}

/** The stack with the causes under it. */
function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const own = error.stack ?? error.message;
  return error.cause === undefined ? own : `${own}\ncaused by ${stackOf(error.cause)}`;
}

import { MmtrtError } from "../diagnostics/index.ts";
import { parseArgv } from "../options/argv.ts";
import { environment } from "../options/env.ts";
import { nearest } from "../options/nearest.ts";
import { peekCommon, resolve } from "../options/resolve.ts";
import { commonOptions } from "../options/tables/common.ts";
import type { Command } from "./command.ts";
import { Interruption } from "./interruption.ts";
import { missingPackage } from "./missing-package.ts";
import { loaderOf, REGISTRY } from "./registry.ts";
import { createUi, type Ui } from "./ui.ts";
import { VERSION } from "./version.ts";

const EXIT_BUG = 70;

/** Runs `mmtrt <argv>` and gives the exit code (DESIGN §7). Never throws. */
export async function dispatch(argv: readonly string[]): Promise<number> {
  const [name = "", ...rest] = argv;
  let ui = makeUi(argv, undefined);
  let debug = argv.includes("--debug");
  const interruption = new Interruption(() => ui);
  process.once("uncaughtException", error => process.exit(report(error, ui, debug)));
  try {
    const command = await load(name);
    ui = makeUi(rest, command);
    debug = peekCommon(rest, environment(), command.options).debug;
    if (wantsHelp(rest, command)) await showHelp(command);
    else await run(command, rest, ui, interruption.signal);
    return interruption.exitCode ?? 0;
  } catch (error) {
    return interruption.exitCode ?? report(error, ui, debug);
  } finally {
    interruption.close();
  }
}

async function load(name: string): Promise<Command> {
  const loader = loaderOf(name);
  if (loader !== undefined) return loader();
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

async function run(command: Command, argv: readonly string[], ui: Ui, signal: AbortSignal): Promise<void> {
  const input = { argv, env: environment(), passthrough: command.passthrough !== undefined };
  const { notes, ...resolved } = await resolve(command.name, command.options, input);
  for (const note of notes) ui.info(`note: ${note}`);
  await command.run({ ...resolved, ui, signal });
}

function wantsHelp(argv: readonly string[], command: Command): boolean {
  return parseArgv({ ...commonOptions, ...command.options }, argv).mentions.some(mention => mention.key === "help");
}

async function showHelp(command: Command): Promise<void> {
  const { commandHelp } = await import("./command-help.ts");
  process.stdout.write(`${commandHelp(command, process.stdout.columns)}\n`);
}

function makeUi(argv: readonly string[], command: Command | undefined): Ui {
  const env = environment();
  const { json, quiet, color } = peekCommon(argv, env, command?.options);
  const terminal = { stdout: process.stdout, stderr: process.stderr, now: () => performance.now() };
  return createUi({ json, quiet, color, noColor: (env.NO_COLOR ?? "") !== "" }, terminal);
}

/** Prints what went wrong and gives the exit code: expected problems without a stack, bugs with one. */
export function report(error: unknown, ui: Ui, debug: boolean): number {
  const known = error instanceof MmtrtError ? error : missingPackage(error);
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

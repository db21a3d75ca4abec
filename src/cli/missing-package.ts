import { MmtrtError } from "../diagnostics/index.ts";

/** Packages with native code: npm can leave them out without a word (`--omit=optional`, a failed download). */
const NATIVE = { "onnxruntime-node": "it runs the graphs", sharp: "it decodes images" } as const;

/** Turns Node's "cannot find module" or "cannot load" of a native package into a problem with the command that installs it. */
export function missingPackage(error: unknown): MmtrtError | undefined {
  if (!(error instanceof Error)) return undefined;
  const code = (error as NodeJS.ErrnoException).code;
  const absent = code === "ERR_MODULE_NOT_FOUND" || code === "MODULE_NOT_FOUND";
  const broken = code === "ERR_DLOPEN_FAILED" || /Could not load the "sharp" module/.test(error.message);
  const name = (Object.keys(NATIVE) as (keyof typeof NATIVE)[]).find(candidate => error.message.includes(candidate));
  if (name === undefined || (!absent && !broken)) return undefined;
  const problem = {
    code: "ENV001",
    at: `node_modules/${name}`,
    what:
      absent && !broken
        ? `the package ${name} is not installed`
        : `the package ${name} does not load: ${error.message.split("\n")[0]}`,
    why: `${NATIVE[name]}, and npm leaves it out when its install script fails`,
    fix: "ONNXRUNTIME_NODE_INSTALL=skip npm install",
  } as const;
  return new MmtrtError([problem], { cause: error });
}

import { createContext, Script } from "node:vm";

/** What a regular expression or a template of a few kilobytes may take. */
const BASE_MS = 1500;
/** Ten times what the slowest tokenizer takes for a character. */
const MS_PER_CHARACTER = 0.1;

const context = createContext({});
const call = new Script("work()");

/**
 * Runs synchronous code that is somebody else's in effect: regular expressions of tokenizer.json and templates may go on
 * for ever. Throws an Error that says so once the time for a text of so many characters is over.
 */
export function bounded<T>(characters: number, work: () => T): T {
  context.work = work;
  const timeout = Math.ceil(BASE_MS + characters * MS_PER_CHARACTER);
  try {
    return call.runInContext(context, { timeout }) as T;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ERR_SCRIPT_EXECUTION_TIMEOUT") throw error;
    throw new Error(`it did not end within ${timeout} ms`);
  } finally {
    delete context.work;
  }
}

import { join } from "node:path";
import { MmtrtError } from "../../diagnostics/index.ts";
import { isJsonObject, type JsonObject, readJsonObject } from "../../formats/json.ts";
import { writeWhole } from "../cache/files.ts";
import type { Cache, StepKey } from "../cache/store.ts";
import { changesOf } from "../changes.ts";
import { fingerprint } from "../fingerprint.ts";

interface Made {
  readonly key: string;
  readonly inputs: JsonObject;
}

/** Steps of a cell by their label, as they were when it was last built. */
type CellHistory = Readonly<Record<string, Made>>;

/** Changes that one line can hold; the rest is counted. */
const MOST = 3;

/** What the steps of a matrix were made of when they were last done, to say why one is done again. */
export class History {
  readonly #file: string;
  readonly #before: Readonly<Record<string, CellHistory>>;
  readonly #now = new Map<string, Record<string, Made>>();

  private constructor(file: string, before: Readonly<Record<string, CellHistory>>) {
    this.#file = file;
    this.#before = before;
  }

  /** `where`: whose runs these are, such as the matrix file's path. A history that cannot be read is an empty one. */
  static async load(cache: Cache, where: string): Promise<History> {
    const file = join(cache.dir, "runs", `${fingerprint(where).slice(0, 16)}.json`);
    try {
      const { format, cells } = await readJsonObject(file);
      return new History(file, format === 1 && isJsonObject(cells) ? (cells as never) : {});
    } catch (error) {
      if (!(error instanceof MmtrtError)) throw error;
      return new History(file, {});
    }
  }

  /** Why the step has no result yet: in words, from what sets it apart from the last time. */
  reason(cell: string, label: string, { key, inputs }: StepKey): string {
    const before = madeIn(this.#before, cell, label);
    if (before === undefined) return "it was never done for this cell";
    if (before.key === key) return "its result is not in the cache any more";
    const all = changesOf(before.inputs, inputs);
    // That an option is given now is said by its value already.
    const telling = all.filter(change => !change.startsWith("given."));
    const changes = telling.length > 0 ? telling : all;
    const shown = changes.slice(0, MOST).join(", ");
    return changes.length > MOST ? `${shown} and ${changes.length - MOST} more` : shown;
  }

  note(cell: string, label: string, { key, inputs }: StepKey): void {
    const steps = this.#now.get(cell) ?? {};
    steps[label] = { key, inputs };
    this.#now.set(cell, steps);
  }

  /** Cells of other runs (another shard, --only) keep what was known of them. */
  async save(): Promise<void> {
    const cells = { ...this.#before, ...Object.fromEntries(this.#now) };
    await writeWhole(this.#file, `${JSON.stringify({ format: 1, cells })}\n`);
  }
}

/** What the file says of a step; a file that came with a cache may say anything. */
function madeIn(cells: Readonly<Record<string, CellHistory>>, cell: string, label: string): Made | undefined {
  const steps: unknown = Object.hasOwn(cells, cell) ? cells[cell] : undefined;
  const made: unknown = isObject(steps) && Object.hasOwn(steps, label) ? steps[label] : undefined;
  return isObject(made) && typeof made.key === "string" && isObject(made.inputs)
    ? (made as unknown as Made)
    : undefined;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

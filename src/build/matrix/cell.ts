import type { OptionValue } from "../../options/define.ts";
import type { BuildOptions } from "../../options/tables/build.ts";
import type { ConvertOptions } from "../../options/tables/convert.ts";

/** The two commands that a cell is made with. */
export const COMMANDS_OF_CELL = ["convert", "build"] as const;
export type CellCommand = (typeof COMMANDS_OF_CELL)[number];

/** One option of one command, with the place where the user wrote it. */
export interface Setting {
  readonly command: CellCommand;
  readonly key: string;
  readonly value: OptionValue;
  /** `matrix.yaml:12:7`. */
  readonly origin: string;
}

/** Settings that go together under one name: a model, a target, a precision, the defaults. */
export interface Layer {
  readonly settings: readonly Setting[];
  /** Words that are handed to trtexec. */
  readonly trtexecFlags?: readonly string[];
}

export interface AxisValue {
  readonly value: OptionValue;
  readonly origin: string;
}

/** `model`, `precision`, `target`, or an option. */
export interface Axis {
  readonly key: string;
  readonly values: readonly AxisValue[];
}

/** Holds for a cell whose every named axis has one of the values. */
export interface Condition {
  readonly wanted: Readonly<Record<string, readonly OptionValue[]>>;
  readonly origin: string;
}

/** A cell beside the product of the axes. */
export interface Inclusion {
  readonly name?: string;
  readonly axes: Readonly<Record<string, AxisValue>>;
  readonly layer: Layer;
  readonly origin: string;
}

/** A matrix file, checked: every name leads somewhere and every value fits its option. */
export interface MatrixFile {
  readonly file: string;
  /** Where the engines go, a directory for each cell. */
  readonly outputDir: string;
  readonly cacheDir: string;
  readonly lockFile: string;
  readonly defaults: Layer;
  readonly models: ReadonlyMap<string, Layer>;
  readonly precisions: ReadonlyMap<string, Layer>;
  readonly targets: ReadonlyMap<string, Layer>;
  readonly axes: readonly Axis[];
  readonly exclude: readonly Condition[];
  readonly include: readonly Inclusion[];
  readonly overrides: readonly { readonly when: Condition; readonly layer: Layer }[];
}

/** One engine directory to be: plain data. */
export interface Cell {
  /** Also the name of its directory. */
  readonly name: string;
  /** The values that set it apart. */
  readonly axes: Readonly<Record<string, OptionValue>>;
  /** Resolved, with paths as seen from the working directory; `output_dir` is set when the cell is built. */
  readonly convert: ConvertOptions;
  readonly build: BuildOptions;
  readonly trtexecFlags: readonly string[];
  /** `convert.tp_size` → `matrix.yaml:4:12`, of what the file sets. */
  readonly origins: Readonly<Record<string, string>>;
  /** Where the cell itself comes from, for what is wrong with all of it. */
  readonly at: string;
}

/** Where an option of a cell was written, for `Problem.at`; takes `tp_size` too, of the command that is asked for. */
export function originOf(cell: Cell, command: CellCommand): (key: string) => string {
  return key => {
    const name = key.slice(key.lastIndexOf(".") + 1);
    return cell.origins[`${command}.${name}`] ?? `${name} (default; cell ${cell.name})`;
  };
}

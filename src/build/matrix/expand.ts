import { fail, type Problem, throwIfAny } from "../../diagnostics/index.ts";
import type { OptionValue } from "../../options/define.ts";
import type { BuildOptions } from "../../options/tables/build.ts";
import type { ConvertOptions } from "../../options/tables/convert.ts";
import { sameValue } from "../../options/value.ts";
import { showValue, wordOfPrecision } from "./axes.ts";
import { type AxisValue, type Cell, COMMANDS_OF_CELL, type Layer, type MatrixFile, type Setting } from "./cell.ts";
import { commandsWith, defaultsOf, isAxisWord } from "./options.ts";

/** Far above what anybody builds in one run; a list of numbers in the wrong place is more. */
const MAX_CELLS = 4096;

/** How an option stands in a cell's name; others with their own name. */
const SHORT: Readonly<Record<string, string>> = {
  tp_size: "tp",
  pp_size: "pp",
  max_batch_size: "b",
  compute_capabilities: "sm",
  max_input_len: "in",
  max_seq_len: "seq",
  max_beam_width: "beam",
};
/** Values that need no name before them. */
const BARE: ReadonlySet<string> = new Set(["model", "precision", "target", "dtype", "backend", "qformat"]);

/** What a cell is made of, before its options are put together. */
interface Draft {
  readonly axes: Readonly<Record<string, AxisValue>>;
  readonly name: string;
  readonly last: readonly Layer[];
  readonly at: string;
}

/**
 * The cells in the order of the file, models outermost: neighbours share the most steps. Later layers win: defaults, model,
 * precision, target, options that are axes, overrides in their order, what an included cell says itself. Pure.
 * Errors: MTX004 equal names, MTX005 nothing left, MTX006 too many.
 */
export function expandMatrix(file: MatrixFile): readonly Cell[] {
  const product = productOf(file).filter(axes => !file.exclude.some(({ wanted }) => holds(wanted, axes)));
  const drafts: Draft[] = [
    ...product.map(axes => ({ axes, name: nameOf(axes), last: [], at: originsOf(axes) })),
    ...file.include.map(({ name, axes, layer, origin }) => ({
      axes,
      name: name ?? nameOf(axes),
      last: [layer],
      at: origin,
    })),
  ];
  if (drafts.length === 0) fail(nothingLeft(file.file));
  throwIfAny(sameNames(drafts));
  return drafts.map(draft => cellOf(file, draft));
}

function productOf({ axes, file }: MatrixFile): readonly Draft["axes"][] {
  const count = axes.reduce((product, { values }) => product * values.length, 1);
  if (count > MAX_CELLS) fail(tooMany(file, count));
  return axes.reduce<readonly Draft["axes"][]>(
    (cells, { key, values }) => cells.flatMap(cell => values.map(value => ({ ...cell, [key]: value }))),
    [{}],
  );
}

function holds(wanted: Readonly<Record<string, readonly OptionValue[]>>, axes: Draft["axes"]): boolean {
  return Object.entries(wanted).every(([key, values]) => {
    const own = axes[key];
    return own !== undefined && values.some(value => sameValue(value, own.value));
  });
}

function cellOf(file: MatrixFile, { axes, name, last, at }: Draft): Cell {
  const layers = [
    file.defaults,
    layerOf(file.models, axes.model),
    precisionLayer(file, axes.precision),
    layerOf(file.targets, axes.target),
    { settings: axisSettings(axes) },
    ...file.overrides.filter(({ when }) => holds(when.wanted, axes)).map(({ layer }) => layer),
    ...last,
  ];
  const settings = layers.flatMap(layer => layer.settings);
  const resolved = (command: Setting["command"]): Record<string, OptionValue | undefined> => ({
    ...defaultsOf(command),
    ...Object.fromEntries(settings.filter(one => one.command === command).map(({ key, value }) => [key, value])),
  });
  const [convert, build] = COMMANDS_OF_CELL.map(resolved);
  return {
    name,
    axes: Object.fromEntries(Object.entries(axes).map(([key, { value }]) => [key, value])),
    convert: convert as unknown as ConvertOptions,
    build: build as unknown as BuildOptions,
    trtexecFlags: layers.findLast(layer => layer.trtexecFlags !== undefined)?.trtexecFlags ?? [],
    origins: Object.fromEntries(settings.map(({ command, key, origin }) => [`${command}.${key}`, origin])),
    at,
  };
}

function layerOf(layers: ReadonlyMap<string, Layer>, value: AxisValue | undefined): Layer {
  return (value === undefined ? undefined : layers.get(String(value.value))) ?? { settings: [] };
}

/** A definition of the file, or the word's own meaning. */
function precisionLayer(file: MatrixFile, value: AxisValue | undefined): Layer {
  if (value === undefined || file.precisions.has(String(value.value))) return layerOf(file.precisions, value);
  const word = wordOfPrecision(String(value.value));
  if (word === undefined) return { settings: [] };
  return { settings: [{ command: "convert", ...word, origin: value.origin }] };
}

function axisSettings(axes: Draft["axes"]): readonly Setting[] {
  return Object.entries(axes).flatMap(([key, { value, origin }]) =>
    isAxisWord(key) ? [] : commandsWith(key).map(command => ({ command, key, value, origin })),
  );
}

/** `llava-float16-ampere-tp2-b8`: every axis in its order, nothing that a file system or a shell minds. */
function nameOf(axes: Draft["axes"]): string {
  return Object.entries(axes)
    .map(([key, { value }]) => {
      const text = showValue(value);
      return BARE.has(key) ? text : `${SHORT[key] ?? `${key}-`}${text}`;
    })
    .join("-")
    .replaceAll(/[^A-Za-z0-9._+-]+/g, "_");
}

function originsOf(axes: Draft["axes"]): string {
  return axes.model?.origin ?? Object.values(axes)[0]?.origin ?? "";
}

function sameNames(drafts: readonly Draft[]): readonly Problem[] {
  const first = new Map<string, Draft>();
  return drafts.flatMap((draft): Problem[] => {
    // Letters that differ in case alone are one directory on some file systems.
    const key = draft.name.toLowerCase();
    const other = first.get(key);
    if (other === undefined) {
      first.set(key, draft);
      return [];
    }
    return [
      {
        code: "MTX004",
        at: draft.at,
        what: `a second cell is called ${draft.name}; the first comes from ${other.at}`,
        why: "the name is the cell's directory",
        fix: "give an included cell a name: of its own, or exclude one of the two",
      },
    ];
  });
}

function nothingLeft(file: string): Problem {
  return {
    code: "MTX005",
    at: file,
    what: "exclude leaves no cell of the matrix",
    why: "there would be nothing to build, and nobody would be told",
    fix: "exclude less, or add cells under include:",
  };
}

function tooMany(file: string, count: number): Problem {
  return {
    code: "MTX006",
    at: file,
    what: `the axes give ${count} cells; at most ${MAX_CELLS} are taken`,
    why: "each cell is an engine directory, which takes minutes to build and gigabytes to keep",
    fix: "shorten the lists, or split the file",
  };
}

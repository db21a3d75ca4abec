import { fail, type Problem } from "../../diagnostics/index.ts";
import { nearest } from "../../options/nearest.ts";
import { showValue } from "./axes.ts";
import type { Cell } from "./cell.ts";

/** One of N parts, counted from 1. */
export interface Shard {
  readonly index: number;
  readonly count: number;
}

const MAX_SHARDS = 4096;

/** Errors: CFG002 for what is no `I/N` with 1 ≤ I ≤ N. */
export function readShard(text: string, at: string): Shard {
  const [, index, count] = /^(\d{1,4})\/(\d{1,4})$/.exec(text)?.map(Number) ?? [];
  if (index !== undefined && count !== undefined && index >= 1 && index <= count && count <= MAX_SHARDS)
    return { index, count };
  return fail({
    code: "CFG002",
    at,
    what: `shard must be I/N with I from 1 to N; got ${text}`,
    why: "each of N machines builds its own part of the cells",
    fix: "--shard 1/4",
  });
}

/** Cells in a row, since neighbours share the most steps; sizes differ by one at most. More parts than cells: some are empty. */
export function shardOf<T>(cells: readonly T[], { index, count }: Shard): readonly T[] {
  const at = (part: number): number => Math.floor((part * cells.length) / count);
  return cells.slice(at(index - 1), at(index));
}

/** The cells that one of the patterns fits: `llava-*`, or `model=llava`. Errors: MTX005 for a pattern without a cell. */
export function onlyCells(cells: readonly Cell[], patterns: readonly string[], at: string): readonly Cell[] {
  const fits = patterns.map(pattern => ({ pattern, cells: cells.filter(cell => isFit(cell, pattern)) }));
  const empty = fits.filter(fit => fit.cells.length === 0);
  if (empty[0] !== undefined) fail(noCell(empty[0].pattern, cells, at));
  const wanted = new Set(fits.flatMap(fit => fit.cells));
  return cells.filter(cell => wanted.has(cell));
}

function isFit(cell: Cell, pattern: string): boolean {
  const [, key, value] = /^(\w+)=(.*)$/s.exec(pattern) ?? [];
  if (key !== undefined && value !== undefined) {
    const own = cell.axes[key];
    return own !== undefined && globOf(value).test(showValue(own));
  }
  return globOf(pattern).test(cell.name);
}

function globOf(pattern: string): RegExp {
  const parts = pattern.split("*").map(part => part.replaceAll(/[\\^$.+?()[\]{}|/-]/g, String.raw`\$&`));
  return new RegExp(`^${parts.join(".*")}$`, "s");
}

function noCell(pattern: string, cells: readonly Cell[], at: string): Problem {
  const names = cells.map(({ name }) => name);
  const guess = nearest(pattern, names);
  return {
    code: "MTX005",
    at,
    what: `${pattern} fits none of the ${names.length} cells`,
    why: "there would be nothing to build, and nobody would be told",
    fix:
      guess === undefined
        ? `such as ${names.slice(0, 3).join(", ")}; mmtrt matrix FILE --plan lists them`
        : `did you mean ${guess}?`,
  };
}

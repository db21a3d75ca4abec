/** Numbers are set right, everything else left. */
export type Cell = string | number | undefined;

const GAP = "  ";

/** Aligned columns with a heading; an empty cell for undefined. No trailing spaces, no final newline. */
export function formatTable(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const text = [head, ...rows.map(row => head.map((_, i) => show(row[i])))];
  const widths = head.map((_, i) => Math.max(...text.map(row => width(row[i] as string))));
  const right = head.map(
    (_, i) => rows.length > 0 && rows.every(row => typeof row[i] === "number" || row[i] === undefined),
  );
  return text
    .map(row =>
      row
        .map((cell, i) => pad(cell, widths[i] as number, right[i] === true))
        .join(GAP)
        .trimEnd(),
    )
    .join("\n");
}

function show(cell: Cell): string {
  return cell === undefined
    ? ""
    : typeof cell === "number"
      ? cell.toLocaleString("en-US", { useGrouping: false, maximumFractionDigits: 3 })
      : cell;
}

function pad(cell: string, to: number, right: boolean): string {
  const space = " ".repeat(Math.max(0, to - width(cell)));
  return right ? space + cell : cell + space;
}

function width(cell: string): number {
  return [...cell].length;
}

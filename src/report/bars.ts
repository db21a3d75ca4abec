import { colorOf, type Drawing, labelWidth, MUTED, rowAxis, TEXT } from "./draw.ts";

export interface BarSeries {
  readonly name: string;
  /** One a row. */
  readonly values: readonly number[];
}

export interface Bars {
  readonly rows: readonly string[];
  readonly series: readonly BarSeries[];
  format(value: number): string;
  /** Ticks are round numbers of it; 1 where there is none. */
  unitOf?(value: number): number;
  /** A value that the sums should not pass, drawn as a line. */
  readonly limit?: { readonly value: number; readonly label: string } | undefined;
}

const ROW = 28;
const AXIS = 34;
/** Room for the sum behind a bar. */
const RIGHT = 84;

/** Horizontal bars, stacked where there are several series, with each row's sum behind it. */
export function bars({ rows, series, format, unitOf, limit }: Bars, width: number): Drawing {
  const sums = rows.map((_, i) => series.reduce((sum, { values }) => sum + (values[i] ?? 0), 0));
  const most = Math.max(...sums, limit?.value ?? 0);
  const interval = tickStep(most, width < 500 ? 2 : 6, unitOf?.(most) ?? 1);
  const top = limit === undefined ? 6 : 24;
  const stack = series.map(({ name, values }, i) => ({
    type: "bar",
    stack: "sum",
    name,
    data: [...values],
    barMaxWidth: 18,
    itemStyle: { color: colorOf(i) },
    silent: true,
    ...(i === series.length - 1 && { label: sumLabel(sums, format), ...(limit && { markLine: limitLine(limit) }) }),
  }));
  return {
    height: top + rows.length * ROW + AXIS,
    option: {
      grid: { left: labelWidth(rows, width) + 12, right: RIGHT, top, bottom: AXIS, outerBoundsMode: "none" },
      yAxis: rowAxis(rows, width),
      xAxis: {
        type: "value",
        max: Math.max(1, Math.ceil(most / interval)) * interval,
        interval,
        axisLabel: { ...MUTED, formatter: format, hideOverlap: true },
        splitLine: { lineStyle: { color: "var(--line)" } },
      },
      series: stack,
    },
  };
}

function sumLabel(sums: readonly number[], format: (value: number) => string): object {
  return {
    ...TEXT,
    show: true,
    position: "right",
    formatter: ({ dataIndex }: { dataIndex: number }) => format(sums[dataIndex] ?? 0),
  };
}

function limitLine({ value, label }: { readonly value: number; readonly label: string }): object {
  return {
    symbol: "none",
    silent: true,
    lineStyle: { color: "var(--limit)", type: "dashed", width: 1.5 },
    label: { ...TEXT, formatter: label, position: "start" },
    data: [{ xAxis: value }],
  };
}

/** The distance of ticks, one, two or five times a power of ten of the unit, that needs at most `most` of them. */
export function tickStep(value: number, most: number, unit: number): number {
  const least = value / unit / most;
  if (!(least > 0)) return unit;
  const power = 10 ** Math.floor(Math.log10(least));
  return ([1, 2, 5].find(step => step * power >= least) ?? 10) * power * unit;
}

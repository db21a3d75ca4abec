import type { CustomSeriesRenderItem } from "echarts/types/dist/shared";
import { tickStep } from "../bars.ts";
import { colorOf, type Drawing, labelWidth, MUTED, rowAxis } from "../draw.ts";

/** Something that took from one moment to another, in seconds. */
export interface Span {
  readonly row: number;
  readonly from: number;
  readonly to: number;
  /** Its colour. */
  readonly series: number;
}

export interface Timeline {
  readonly rows: readonly string[];
  readonly spans: readonly Span[];
  readonly end: number;
  format(value: number): string;
}

const ROW = 28;
const AXIS = 34;
const HEIGHT = 18;

/** One lane a row, a box for every span: gaps are time in which nothing was done. */
export function timeline({ rows, spans, end, format }: Timeline, width: number): Drawing {
  const interval = tickStep(end, width < 500 ? 2 : 6, 1);
  return {
    height: rows.length * ROW + AXIS,
    option: {
      grid: { left: labelWidth(rows, width) + 12, right: 24, top: 4, bottom: AXIS - 4, outerBoundsMode: "none" },
      yAxis: rowAxis(rows, width),
      xAxis: {
        type: "value",
        min: 0,
        max: Math.max(1, Math.ceil(end / interval)) * interval,
        interval,
        axisLabel: { ...MUTED, formatter: format, hideOverlap: true },
        splitLine: { lineStyle: { color: "var(--line)" } },
      },
      series: [
        {
          type: "custom",
          silent: true,
          renderItem: drawSpan,
          data: spans.map(({ row, from, to, series }) => [row, from, to, series]),
        },
      ],
    },
  };
}

/** A box at least one pixel wide, with the page's ground between neighbours. */
const drawSpan: CustomSeriesRenderItem = (_, api) => {
  const row = Number(api.value(0));
  const [left = 0, middle = 0] = api.coord([api.value(1), row]);
  const [right = 0] = api.coord([api.value(2), row]);
  return {
    type: "rect",
    shape: { x: left, y: middle - HEIGHT / 2, width: Math.max(1, right - left - 1), height: HEIGHT, r: 2 },
    style: { fill: colorOf(Number(api.value(3))) },
  };
};

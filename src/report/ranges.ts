import type { CustomSeriesRenderItem } from "echarts/types/dist/shared";
import type { EnginePlan } from "../build/plan.ts";
import type { ProfileRange } from "../formats/engine-config.ts";
import { colorOf, type Drawing, FONT, FONT_SIZE, labelWidth, MUTED, rowAxis } from "./draw.ts";

/** One named size of an input, or of inputs that differ in their number alone, in each profile of the engine. */
export interface RangeRow {
  readonly label: string;
  /** By profile; undefined where it has none. */
  readonly ranges: readonly (readonly [min: number, opt: number, max: number] | undefined)[];
}

const LANE = 18;
const GAP = 10;
const AXIS = 34;

/** Every size of every input that depends on the request. Inputs `name_0` … `name_n` of equal ranges share their rows. */
export function rangeRows({ io, profiles }: EnginePlan): readonly RangeRow[] {
  const rows = new Map<string, { stem: string; dim: string; names: string[]; ranges: RangeRow["ranges"] }>();
  for (const { name, kind, dims } of io) {
    if (kind !== "input") continue;
    for (const [axis, dim] of dims.entries()) {
      if (typeof dim === "number") continue;
      const ranges = profiles.map(({ shapes }) => triple(shapes[name], axis));
      const stem = name.replace(/_\d+$/, "_*");
      const key = JSON.stringify([stem, dim, axis, ranges]);
      const row = rows.get(key) ?? { stem, dim, names: [], ranges };
      row.names.push(name);
      rows.set(key, row);
    }
  }
  return [...rows.values()].map(({ stem, dim, names, ranges }) => ({
    label: `${names.length === 1 ? (names[0] ?? stem) : stem} · ${dim}`,
    ranges,
  }));
}

function triple(range: ProfileRange | undefined, axis: number): readonly [number, number, number] | undefined {
  const { min, opt, max } = range ?? {};
  const [low, middle, high] = [min?.[axis], opt?.[axis], max?.[axis]];
  return low === undefined || middle === undefined || high === undefined ? undefined : [low, middle, high];
}

/** Sizes run from 0 to tens of thousands: 0 at the origin, from there on a step is a factor of two. */
const place = (size: number): number => (size < 1 ? 0 : 1 + Math.log2(size));
const sizeAt = (tick: number): number => (tick < 1 ? 0 : 2 ** (tick - 1));

/** A line from min to max with a dot at opt, one colour a profile, and the three numbers behind it. */
export function ranges(rows: readonly RangeRow[], profiles: number, width: number): Drawing {
  const labels = rows.map(row => row.label);
  const all = rows.flatMap(row => row.ranges.flatMap(range => range ?? []));
  const end = Math.ceil(place(Math.max(1, ...all)));
  const texts = rows.flatMap(row => row.ranges.map(range => range?.join(" – ") ?? ""));
  const right = Math.max(...texts.map(text => text.length)) * FONT_SIZE * 0.56 + 14;
  return {
    height: rows.length * (profiles * LANE + GAP) + AXIS,
    option: {
      grid: { left: labelWidth(labels, width) + 12, right, top: 4, bottom: AXIS - 4, outerBoundsMode: "none" },
      yAxis: { ...rowAxis(labels, width), splitLine: { show: rows.length > 1, lineStyle: { color: "var(--line)" } } },
      xAxis: {
        type: "value",
        min: 0,
        max: end,
        interval: Math.ceil(end / (width < 500 ? 3 : 12)),
        axisLabel: { ...MUTED, formatter: (tick: number) => String(sizeAt(tick)) },
        splitLine: { show: false },
      },
      series: Array.from({ length: profiles }, (_, profile) => ({
        type: "custom",
        silent: true,
        renderItem: drawRange(profile, profiles, texts),
        data: rows.flatMap(({ ranges: all }, row) => {
          const range = all[profile];
          return range === undefined ? [] : [[row, ...range.map(place)]];
        }),
      })),
    },
  };
}

function drawRange(profile: number, profiles: number, texts: readonly string[]): CustomSeriesRenderItem {
  return (params, api) => {
    const row = Number(api.value(0));
    const at = (column: number): number => api.coord([api.value(column), row])[0] ?? 0;
    const y = (api.coord([0, row])[1] ?? 0) + (profile - (profiles - 1) / 2) * LANE;
    const { x = 0, width = 0 } = params.coordSys as { x?: number; width?: number };
    const color = colorOf(profile);
    const line = { stroke: color, lineWidth: 4, lineCap: "round" as const };
    return {
      type: "group",
      children: [
        { type: "line", shape: { x1: at(1), y1: y, x2: at(3), y2: y }, style: line },
        {
          type: "circle",
          shape: { cx: at(2), cy: y, r: 5 },
          style: { fill: color, stroke: "var(--page)", lineWidth: 2 },
        },
        {
          type: "text",
          style: {
            ...{ text: texts[row * profiles + profile] ?? "", x: x + width + 10, y, fill: "var(--muted)" },
            ...{ fontFamily: FONT, fontSize: FONT_SIZE, verticalAlign: "middle" },
          },
        },
      ],
    };
  };
}
